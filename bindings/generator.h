#pragma once

#include <napi.h>

#include "bindings/object.h"
#include "native/model/generate.h"

namespace heed::bindings {

class Generator final : public Napi::ObjectWrap<Generator> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Generator(const Napi::CallbackInfo& info);

 private:
  Napi::Value start(const Napi::CallbackInfo& info);
  Napi::Value prefill(const Napi::CallbackInfo& info);
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::optional<Owner<heed::Generator>> owner_;
};

}  // namespace heed::bindings
