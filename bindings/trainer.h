#pragma once

#include <napi.h>

#include <atomic>

#include "bindings/object.h"
#include "native/train/trainer.h"

namespace heed::bindings {

class Trainer final : public Napi::ObjectWrap<Trainer> {
 public:
  static constexpr napi_type_tag kTag = {0x6865656420747261, 0x5d2c8a1e90b34f67};
  static constexpr const char* kArticle = "a Trainer";
  static Napi::Function define(Napi::Env env);
  explicit Trainer(const Napi::CallbackInfo& info);
  // stepTogether(steps): one step of several trainers.
  static Napi::Value step_together(const Napi::CallbackInfo& info);

 private:
  Napi::Value sft(const Napi::CallbackInfo& info);
  Napi::Value ppo(const Napi::CallbackInfo& info);
  Napi::Value value(const Napi::CallbackInfo& info);
  Napi::Value reward(const Napi::CallbackInfo& info);
  Napi::Value set_aside(const Napi::CallbackInfo& info);
  Napi::Value zero(const Napi::CallbackInfo& info);
  Napi::Value gradient(const Napi::CallbackInfo& info);
  Napi::Value steps(const Napi::CallbackInfo& info);
  Napi::Value set_steps(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::optional<Owner<heed::Trainer>> owner_;
  // Steps of the jobs that have ended: written by jobs, read by JavaScript.
  const std::shared_ptr<std::atomic<int64_t>> steps_ = std::make_shared<std::atomic<int64_t>>(0);
};

}  // namespace heed::bindings
