#pragma once

#include <napi.h>

#include "bindings/compute_thread.h"

namespace heed::bindings {

class Engine final : public Napi::ObjectWrap<Engine> {
 public:
  static constexpr napi_type_tag kTag = {0x6865656420656e67, 0x1f0e2d3c4b5a6978};
  static constexpr const char* kArticle = "an Engine";
  static Napi::Function define(Napi::Env env);
  explicit Engine(const Napi::CallbackInfo& info);

  const std::shared_ptr<ComputeThread>& thread() const { return thread_; }

 private:
  Napi::Value info(const Napi::CallbackInfo& info);
  Napi::Value usage(const Napi::CallbackInfo& info);
  Napi::Value peak_flops(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<ComputeThread> thread_;
};

}  // namespace heed::bindings
