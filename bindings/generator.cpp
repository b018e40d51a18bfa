#include "bindings/generator.h"

#include <algorithm>

#include "bindings/model.h"

namespace heed::bindings {
namespace {

Napi::Value decoded_to_js(Napi::Env env, const Decoded& decoded) {
  auto finished = Napi::Uint8Array::New(env, decoded.finished.size());
  std::transform(decoded.finished.begin(), decoded.finished.end(), finished.Data(),
                 [](Finish f) { return uint8_t(f); });
  auto out = Napi::Object::New(env);
  out.Set("slots", to_js(env, decoded.slots));
  out.Set("counts", to_js(env, decoded.counts));
  out.Set("tokens", to_js(env, decoded.tokens));
  out.Set("logprobs", to_js(env, decoded.logprobs));
  out.Set("finished", finished);
  out.Set("stale", to_js(env, decoded.stale));
  return out;
}

using ModelResource = std::shared_ptr<Resource<heed::Model>>;
ModelResource resource_of(const Argument& model, const ComputeThread* thread) {
  const auto& owner = unwrap<Model>(model).owner();
  require(owner.thread().get() == thread, model.name(), " belongs to another engine");
  return owner.resource();
}

}  // namespace

Napi::Function Generator::define(Napi::Env env) {
  return DefineClass(env, "Generator",
                     {
                         InstanceMethod("start", &Generator::start),
                         InstanceMethod("prefill", &Generator::prefill),
                         InstanceMethod("run", &Generator::run),
                         InstanceMethod("release", &Generator::release),
                         InstanceMethod("dispose", &Generator::dispose),
                     });
}

Generator::Generator(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const auto& model = unwrap<Model>(argument(info, 0, "model")).owner();
    const Argument o = argument(info, 1, "options");
    GeneratorOptions options{.slots = o.field("slots").integer(), .max_length = o.field("maxLength").integer()};
    // The engine's child, not the model's: it keeps the parameters that the samples' adapters share.
    auto resource = std::make_shared<Resource<heed::Generator>>(
        "generator", model.thread()->root(), [model = model.resource(), options] {
          return std::make_shared<heed::Generator>(heed::Model::base_of(model->get()), options);
        });
    owner_.emplace(model.thread(), std::move(resource), "generator");
  });
}

Napi::Value Generator::start(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Argument o = argument(info, 0, "options");
    StartRequest request{.tokens = o.field("tokens").integers(),
                         .cu_seqlens = o.field("cuSeqlens").integers(),
                         .cached = o.field("cached").integers(),
                         .cached_in = o.field("cachedIn").integers(),
                         .adapters = {},
                         .adapter_of = o.field("adapterOf").integers(),
                         .prompt_of = o.field("promptOf").integers(),
                         .slots = o.field("slots").integers(),
                         .seeds = o.field("seeds").integers(),
                         .sample_index = o.field("sampleIndex").integers(),
                         .max_new_tokens = o.field("maxNewTokens").integers(),
                         .sampling = {},
                         .sampling_of = o.field("samplingOf").integers()};
    const Argument list = o.field("sampling");
    for (uint32_t i = 0; i < list.length(); ++i)
      request.sampling.push_back({.temperature = float(list.at(i).field("temperature").number()),
                                  .top_k = list.at(i).field("topK").integer(),
                                  .top_p = float(list.at(i).field("topP").number()),
                                  .stop_tokens = list.at(i).field("stopTokens").integers()});
    std::vector<ModelResource> adapters;
    const Argument given = o.field("adapters");
    for (uint32_t i = 0; i < given.length(); ++i) adapters.push_back(resource_of(given.at(i), owner_->thread().get()));
    return owner_->submit(
        info.Env(),
        [request = std::move(request), adapters = std::move(adapters)](heed::Generator& g) mutable {
          for (const ModelResource& adapter : adapters) request.adapters.push_back(adapter->get());
          return g.start(request);
        },
        decoded_to_js);
  });
}

Napi::Value Generator::prefill(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t slot = argument(info, 0, "slot").integer(), begin = argument(info, 2, "begin").integer();
    auto tokens = argument(info, 1, "tokens").integers();
    const Argument given = argument(info, 3, "adapter");
    const ModelResource adapter = given.value().IsUndefined() ? nullptr : resource_of(given, owner_->thread().get());
    return owner_->submit(
        info.Env(),
        [slot, tokens = std::move(tokens), begin, adapter](heed::Generator& g) {
          return g.prefill(slot, tokens, begin, adapter == nullptr ? nullptr : adapter->get());
        },
        decoded_to_js);
  });
}

Napi::Value Generator::run(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t steps = argument(info, 0, "steps").integer();
    auto slots = argument(info, 1, "slots").integers();
    return owner_->submit(
        info.Env(), [steps, slots = std::move(slots)](heed::Generator& g) { return g.run(steps, slots); },
        decoded_to_js);
  });
}

Napi::Value Generator::release(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto slots = argument(info, 0, "slots").integers();
    return owner_->submit(info.Env(), [slots = std::move(slots)](heed::Generator& g) { g.release(slots); });
  });
}

Napi::Value Generator::dispose(const Napi::CallbackInfo& info) {
  owner_->dispose();
  return info.Env().Undefined();
}

}  // namespace heed::bindings
