// Base of this addon's JavaScript objects: an engine's thread, a native object on it, dispose().
#pragma once

#include "bindings/compute_thread.h"
#include "bindings/values.h"

namespace heed::bindings {

// The JavaScript side of a Resource. Its destructor runs when the object is collected.
template <class T>
class Owner {
 public:
  Owner(std::shared_ptr<ComputeThread> thread, std::shared_ptr<Resource<T>> resource, const char* what)
      : thread_(std::move(thread)), resource_(std::move(resource)), what_(what) {}
  ~Owner() { dispose(); }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;

  const std::shared_ptr<ComputeThread>& thread() const { return thread_; }
  const std::shared_ptr<Resource<T>>& resource() const { return resource_; }

  // Memory is freed after all earlier calls are done.
  void dispose() {
    if (disposed_) return;
    disposed_ = true;
    thread_->post([resource = resource_] { resource->release(); });
  }

  void check_alive() const {
    thread_->engine();
    if (disposed_) throw Error(ErrorCode::Disposed, std::string("the ") + what_ + " is disposed");
  }

  // work(T&) runs on the compute thread; convert(env, its result) on the JavaScript thread.
  template <class Work, class Convert>
  Napi::Value submit(Napi::Env env, Work work, Convert convert) const {
    check_alive();
    using Out = std::invoke_result_t<Work, T&>;
    auto out = std::make_shared<Out>();
    return thread_->submit(
        env, [resource = resource_, out, work = std::move(work)]() mutable { *out = work(*resource->get()); },
        [out, convert](Napi::Env e) -> Napi::Value { return convert(e, *out); });
  }

  template <class Work>
  Napi::Value submit(Napi::Env env, Work work) const {
    check_alive();
    return thread_->submit(
        env, [resource = resource_, work = std::move(work)]() mutable { work(*resource->get()); },
        [](Napi::Env e) -> Napi::Value { return e.Undefined(); });
  }

 private:
  std::shared_ptr<ComputeThread> thread_;
  std::shared_ptr<Resource<T>> resource_;
  const char* what_;
  bool disposed_ = false;
};

}  // namespace heed::bindings
