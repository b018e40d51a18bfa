#include "bindings/model.h"

#include "bindings/engine.h"

namespace heed::bindings {
namespace {

ModelConfig read_config(const Argument& options) {
  const std::string architecture = options.field("architecture").text();
  require(architecture == "gpt2" || architecture == "llama", "architecture is ", architecture,
          ", expected gpt2 or llama");
  const std::string head = options.field("head").text();
  require(head == "language" || head == "scalar", "head is ", head, ", expected language or scalar");
  const Argument tied = options.field("tiedHead");
  if (!tied.value().IsBoolean())
    type_error(tied.value().Env(), tied.name() + " is " + describe(tied.value()) + ", expected a boolean");

  ModelConfig config{.architecture = architecture == "gpt2" ? Architecture::kGpt2 : Architecture::kLlama,
                     .head = head == "language" ? Head::kLanguage : Head::kScalar,
                     .num_layers = options.field("numLayers").integer(),
                     .num_heads = options.field("numHeads").integer(),
                     .num_kv_heads = options.field("numKvHeads").integer(),
                     .head_dim = options.field("headDim").integer(),
                     .channels = options.field("channels").integer(),
                     .mlp_channels = options.field("mlpChannels").integer(),
                     .vocab = options.field("vocabSize").integer(),
                     .max_positions = options.field("maxPositions").integer(),
                     .norm_eps = float(options.field("normEps").number()),
                     .rope_theta = options.field("ropeTheta").number(),
                     .tied_head = tied.value().As<Napi::Boolean>().Value()};
  config.check();
  return config;
}

}  // namespace

Napi::Function Model::define(Napi::Env env) {
  return DefineClass(env, "Model",
                     {
                         InstanceMethod("parameters", &Model::parameters),
                         InstanceMethod("initialize", &Model::initialize),
                         InstanceMethod("read", &Model::read),
                         InstanceMethod("write", &Model::write),
                         InstanceMethod("copyFrom", &Model::copy_from),
                         InstanceMethod("lerp", &Model::lerp),
                         InstanceMethod("parameter", &Model::parameter),
                         InstanceMethod("logits", &Model::logits),
                         InstanceMethod("logprobs", &Model::logprobs),
                         InstanceMethod("scores", &Model::scores),
                         InstanceMethod("shiftScores", &Model::shift_scores),
                         InstanceMethod("scaleScores", &Model::scale_scores),
                         InstanceMethod("scoreOffset", &Model::score_offset),
                         InstanceMethod("setScoreOffset", &Model::set_score_offset),
                         InstanceMethod("dispose", &Model::dispose),
                     });
}

Model::Model(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const auto& thread = unwrap<Engine>(argument(info, 0, "engine")).thread();
    config_ = read_config(argument(info, 1, "config"));
    // Weak: a model that was never made must not hold the memory of an engine that was disposed of. Jobs run before.
    auto resource = std::make_shared<Resource<heed::Model>>(
        "model", thread->root(), [engine = std::weak_ptr(thread->shared_engine()), config = config_] {
          return std::make_shared<heed::Model>(engine.lock(), config);
        });
    owner_.emplace(thread, std::move(resource), "model");
    info.This().As<Napi::Object>().TypeTag(&kTag);
  });
}

const Owner<heed::Model>& Model::owner() const {
  owner_->check_alive();
  return *owner_;
}

const Owner<heed::Model>& Model::other(const Napi::CallbackInfo& info) const {
  const auto& other = unwrap<Model>(argument(info, 0, "other")).owner();
  require(other.thread() == owner_->thread(), "the other model belongs to another engine");
  return other;
}

Napi::Value Model::parameters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    owner();
    auto list = Napi::Array::New(env);
    Params params;
    params.visit(config_, [&](Tensor&, const ParamSpec& spec) {
      for (const NamedRows& part : spec.parts) {
        auto shape = Napi::Array::New(env);
        for (const int64_t n : part.shape) shape.Set(shape.Length(), double(n));
        auto item = Napi::Object::New(env);
        item.Set("name", part.name);
        item.Set("shape", shape);
        list.Set(list.Length(), item);
      }
    });
    return list;
  });
}

Napi::Value Model::initialize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto seed = uint64_t(argument(info, 0, "seed").integer());
    return owner().submit(info.Env(), [seed](heed::Model& m) { m.initialize(seed); });
  });
}

Napi::Value Model::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string path = argument(info, 0, "path").text();
    auto tensors = argument(info, 1, "tensors").file_tensors();
    return owner().submit(info.Env(), [path, tensors = std::move(tensors)](heed::Model& m) { m.read(path, tensors); });
  });
}

Napi::Value Model::write(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string path = argument(info, 0, "path").text();
    auto prefix = argument(info, 1, "prefix").bytes();
    auto tensors = argument(info, 2, "tensors").file_tensors();
    return owner().submit(info.Env(), [path, prefix = std::move(prefix), tensors = std::move(tensors)](heed::Model& m) {
      m.write(path, prefix, tensors);
    });
  });
}

Napi::Value Model::copy_from(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return owner().submit(info.Env(), [from = other(info).resource()](heed::Model& m) { m.copy_from(*from->get()); });
  });
}

Napi::Value Model::lerp(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto weight = float(argument(info, 1, "weight").number());
    return owner().submit(info.Env(),
                          [to = other(info).resource(), weight](heed::Model& m) { m.lerp(*to->get(), weight); });
  });
}

Napi::Value Model::parameter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string name = argument(info, 0, "name").text();
    return owner().submit(
        info.Env(), [name](heed::Model& m) { return m.parameter(name); },
        [](Napi::Env env, const std::vector<float>& values) { return to_js(env, values); });
  });
}

Napi::Value Model::logits(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto batch = argument(info, 0, "batch").batch();
    return owner().submit(
        info.Env(), [batch = std::move(batch)](heed::Model& m) { return m.logits(batch); },
        [](Napi::Env env, const std::vector<float>& values) { return to_js(env, values); });
  });
}

Napi::Value Model::logprobs(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto batch = argument(info, 0, "batch").batch();
    const auto temperature = float(argument(info, 1, "options").field("temperature").number());
    return owner().submit(
        info.Env(), [batch = std::move(batch), temperature](heed::Model& m) { return m.logprobs(batch, temperature); },
        [](Napi::Env env, const TokenLogprobs& result) -> Napi::Value {
          auto out = Napi::Object::New(env);
          out.Set("logprobs", to_js(env, result.logprobs));
          out.Set("entropy", to_js(env, result.entropy));
          return out;
        });
  });
}

Napi::Value Model::scores(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto batch = argument(info, 0, "batch").batch();
    return owner().submit(
        info.Env(), [batch = std::move(batch)](heed::Model& m) { return m.scores(batch); },
        [](Napi::Env env, const std::vector<float>& values) { return to_js(env, values); });
  });
}

Napi::Value Model::shift_scores(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto delta = float(argument(info, 0, "delta").number());
    return owner().submit(info.Env(), [delta](heed::Model& m) { m.shift_scores(delta); });
  });
}

Napi::Value Model::scale_scores(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto factor = float(argument(info, 0, "factor").number());
    return owner().submit(info.Env(), [factor](heed::Model& m) { m.scale_scores(factor); });
  });
}

Napi::Value Model::score_offset(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return owner().submit(
        info.Env(), [](heed::Model& m) { return double(m.score_offset()); },
        [](Napi::Env env, double value) { return to_js(env, value); });
  });
}

Napi::Value Model::set_score_offset(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto offset = float(argument(info, 0, "offset").number());
    return owner().submit(info.Env(), [offset](heed::Model& m) { m.set_score_offset(offset); });
  });
}

Napi::Value Model::dispose(const Napi::CallbackInfo& info) {
  owner_->dispose();
  return info.Env().Undefined();
}

}  // namespace heed::bindings
