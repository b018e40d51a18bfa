// Native objects of the compute thread: created there by the first job that needs them, and destroyed there.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "native/core/error.h"

namespace heed::bindings {

class ResourceBase {
 public:
  virtual ~ResourceBase() = default;

  // Destroys the children, then the object itself. Later uses throw. Idempotent.
  void release() {
    if (released_) return;
    released_ = true;
    for (const auto& child : children_)
      if (const auto alive = child.lock()) alive->release();
    children_.clear();
    destroy();
  }

 protected:
  virtual void destroy() {}
  void adopt(const std::shared_ptr<ResourceBase>& child) {
    std::erase_if(children_, [](const auto& c) { return c.expired(); });
    children_.push_back(child);
  }
  bool released() const { return released_; }

 private:
  template <class T>
  friend class Resource;
  std::vector<std::weak_ptr<ResourceBase>> children_;
  bool released_ = false;
};

// All but the constructor is for the compute thread.
template <class T>
class Resource final : public ResourceBase, public std::enable_shared_from_this<Resource<T>> {
 public:
  using Make = std::function<std::shared_ptr<T>()>;
  // what: its name in error messages.
  Resource(const char* what, std::shared_ptr<ResourceBase> parent, Make make)
      : what_(what), parent_(std::move(parent)), make_(std::move(make)) {}

  const std::shared_ptr<T>& get() {
    if (released()) throw Error(ErrorCode::Disposed, std::string("the ") + what_ + " is disposed");
    if (object_ == nullptr) {
      parent_->adopt(this->shared_from_this());
      object_ = make_();
      make_ = nullptr;
    }
    return object_;
  }

 private:
  void destroy() override {
    object_ = nullptr;
    make_ = nullptr;
    parent_ = nullptr;
  }

  const char* what_;
  std::shared_ptr<ResourceBase> parent_;
  Make make_;
  std::shared_ptr<T> object_;
};

}  // namespace heed::bindings
