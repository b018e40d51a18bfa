#pragma once

#include <napi.h>

#include "bindings/object.h"
#include "native/model/model.h"

namespace heed::bindings {

Napi::Value parameters(const Napi::CallbackInfo& info);

class Model final : public Napi::ObjectWrap<Model> {
 public:
  static constexpr napi_type_tag kTag = {0x68656564206d6f64, 0x2f1e0d3c4b5a6978};
  static constexpr const char* kArticle = "a Model";
  static Napi::Function define(Napi::Env env);
  explicit Model(const Napi::CallbackInfo& info);

  static Napi::Value compute_together(const Napi::CallbackInfo& info);

  // Throws Error(Disposed) after it was disposed.
  const Owner<heed::Model>& owner() const;

 private:
  Napi::Value parameters(const Napi::CallbackInfo& info);
  Napi::Value initialize(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value copy_from(const Napi::CallbackInfo& info);
  Napi::Value merge(const Napi::CallbackInfo& info);
  Napi::Value lerp(const Napi::CallbackInfo& info);
  Napi::Value parameter(const Napi::CallbackInfo& info);
  Napi::Value logits(const Napi::CallbackInfo& info);
  Napi::Value logprobs(const Napi::CallbackInfo& info);
  Napi::Value scores(const Napi::CallbackInfo& info);
  Napi::Value shift_scores(const Napi::CallbackInfo& info);
  Napi::Value scale_scores(const Napi::CallbackInfo& info);
  Napi::Value score_offset(const Napi::CallbackInfo& info);
  Napi::Value set_score_offset(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  const Owner<heed::Model>& other(const Napi::CallbackInfo& info) const;

  void make_adapter(const Model& base, const Argument& adapter);

  ParamList own_;
  std::optional<Owner<heed::Model>> owner_;
};

}  // namespace heed::bindings
