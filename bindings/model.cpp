#include "bindings/model.h"

#include "bindings/engine.h"
#include "native/model/together.h"

namespace heed::bindings {
namespace {

// A string field that must have one of the given values.
template <class T>
T choice(const Argument& argument, std::initializer_list<std::pair<const char*, T>> values) {
  const std::string given = argument.text();
  std::string expected;
  for (const auto& [name, value] : values) {
    if (given == name) return value;
    expected += (expected.empty() ? "" : " or ") + std::string(name);
  }
  throw Error(ErrorCode::InvalidArgument, argument.name() + " is " + given + ", expected " + expected);
}

Head read_head(const Argument& head) {
  return choice<Head>(head, {{"language", Head::kLanguage}, {"scalar", Head::kScalar}});
}

ParameterNames read_names(const Argument& names) {
  return {.embedding = names.field("embedding").text(),
          .positions = names.field("positions").text(),
          .attention_norm = names.field("attentionNorm").text(),
          .qkv = names.field("qkv").texts(),
          .qkv_by_head = names.field("qkvByHead").boolean(),
          .q_norm = names.field("qNorm").text(),
          .k_norm = names.field("kNorm").text(),
          .attention_out = names.field("attentionOut").text(),
          .attention_post_norm = names.field("attentionPostNorm").text(),
          .mlp_norm = names.field("mlpNorm").text(),
          .up = names.field("up").texts(),
          .down = names.field("down").text(),
          .mlp_post_norm = names.field("mlpPostNorm").text(),
          .final_norm = names.field("finalNorm").text(),
          .language_head = names.field("languageHead").text(),
          .scalar_head = names.field("scalarHead").text()};
}

ModelConfig read_config(const Argument& config) {
  const auto integer = [&](const char* name) { return config.field(name).integer(); };
  const auto number = [&](const char* name) { return float(config.field(name).number()); };
  ModelConfig c{
      .head = read_head(config.field("head")),
      .num_layers = integer("numLayers"),
      .num_heads = integer("numHeads"),
      .num_kv_heads = integer("numKvHeads"),
      .head_dim = integer("headDim"),
      .channels = integer("channels"),
      .mlp_channels = integer("mlpChannels"),
      .vocab = integer("vocabSize"),
      .max_positions = integer("maxPositions"),
      .norm = choice<Norm>(config.field("norm"), {{"layer", Norm::kLayer}, {"rms", Norm::kRms}}),
      .norm_eps = number("normEps"),
      .norm_offset = number("normOffset"),
      .pre_norm = config.field("preNorm").boolean(),
      .post_norm = config.field("postNorm").boolean(),
      .parallel_residual = config.field("parallelResidual").boolean(),
      .qk_norm = choice<QkNormOf>(config.field("qkNorm"),
                                  {{"none", QkNormOf::kNothing}, {"head", QkNormOf::kHead}, {"all", QkNormOf::kAll}}),
      .embedding_scale = number("embeddingScale"),
      .rope_frequencies = config.field("ropeFrequencies").doubles(),
      .window_rope_frequencies = config.field("windowRopeFrequencies").doubles(),
      .rope_factor = config.field("ropeFactor").number(),
      .window_rope_factor = config.field("windowRopeFactor").number(),
      .no_rope_layers = config.field("noRopeLayers").integers(),
      .position_offset = integer("positionOffset"),
      .sliding_window = integer("slidingWindow"),
      .full_layers = config.field("fullLayers").integers(),
      .attention_scale = number("attentionScale"),
      .attention_softcap = number("attentionSoftcap"),
      .logit_softcap = number("logitSoftcap"),
      .activation = choice<Activation>(config.field("activation"), {{"gelu_tanh", Activation::kGeluTanh},
                                                                    {"gelu", Activation::kGelu},
                                                                    {"silu", Activation::kSilu},
                                                                    {"relu", Activation::kRelu}}),
      .gated_mlp = config.field("gatedMlp").boolean(),
      .qkv_bias = config.field("qkvBias").boolean(),
      .attention_out_bias = config.field("attentionOutBias").boolean(),
      .mlp_bias = config.field("mlpBias").boolean(),
      .layout = choice<Layout>(config.field("weightLayout"), {{"in,out", Layout::kInOut}, {"out,in", Layout::kOutIn}}),
      .tied_head = config.field("tiedHead").boolean(),
      .int8 = config.field("int8").boolean(),
      .names = read_names(config.field("names")),
  };
  c.check();
  return c;
}

Napi::Value list_parameters(Napi::Env env, const ParamList& list) {
  auto out = Napi::Array::New(env);
  Params params;
  list.visit(params, [&](Tensor&, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts) {
      auto shape = Napi::Array::New(env);
      for (const int64_t n : part.shape) shape.Set(shape.Length(), double(n));
      auto item = Napi::Object::New(env);
      item.Set("name", part.name);
      item.Set("shape", shape);
      out.Set(out.Length(), item);
    }
  });
  return out;
}

}  // namespace

Napi::Value parameters(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return list_parameters(info.Env(), ParamList(read_config(argument(info, 0, "config")))); });
}

Napi::Function Model::define(Napi::Env env) {
  return DefineClass(env, "Model",
                     {
                         InstanceMethod("parameters", &Model::parameters),
                         InstanceMethod("initialize", &Model::initialize),
                         InstanceMethod("read", &Model::read),
                         InstanceMethod("write", &Model::write),
                         InstanceMethod("copyFrom", &Model::copy_from),
                         InstanceMethod("merge", &Model::merge),
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
    if (is<Model>(info[0])) return make_adapter(unwrap<Model>(argument(info, 0, "base")), argument(info, 1, "adapter"));
    const auto& thread = unwrap<Engine>(argument(info, 0, "engine")).thread();
    own_ = ParamList(read_config(argument(info, 1, "config")));
    // Weak, so that a model that is never created does not keep a disposed engine's memory. Jobs run before that.
    auto resource = std::make_shared<Resource<heed::Model>>(
        "model", thread->root(), [engine = std::weak_ptr(thread->shared_engine()), config = own_.config()] {
          return std::make_shared<heed::Model>(engine.lock(), config);
        });
    owner_.emplace(thread, std::move(resource), "model");
  });
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

// The engine's child, not the base's: an adapter's model keeps the base's parameters, even if the base is disposed.
void Model::make_adapter(const Model& base, const Argument& adapter) {
  const Owner<heed::Model>& owner = base.owner();
  std::vector<AdapterTarget> targets;
  const Argument list = adapter.field("targets");
  for (uint32_t i = 0; i < list.length(); ++i)
    targets.push_back({.module = list.at(i).field("module").text(),
                       .rank = list.at(i).field("rank").integer(),
                       .scale = float(list.at(i).field("scale").number())});
  ModelConfig config = base.own_.config();
  config.head = read_head(adapter.field("head"));
  own_ = ParamList(config, targets);
  auto resource = std::make_shared<Resource<heed::Model>>(
      "model", owner.thread()->root(),
      [base = owner.resource(), head = config.head, targets = std::move(targets)]() mutable {
        return std::make_shared<heed::Model>(base->get(), head, std::move(targets));
      });
  owner_.emplace(owner.thread(), std::move(resource), "model");
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
    return list_parameters(env, own_);
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

Napi::Value Model::merge(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return owner().submit(info.Env(), [from = other(info).resource()](heed::Model& m) { m.merge(*from->get()); });
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

Napi::Value Model::compute_together(const Napi::CallbackInfo& info) {
  struct Request {
    std::shared_ptr<Resource<heed::Model>> model;
    HostBatch batch;
    float temperature;
  };
  return guarded(info.Env(), [&] {
    std::vector<Request> list;
    const Owner<heed::Model>* first = nullptr;
    const Argument requests = argument(info, 0, "requests");
    for (uint32_t i = 0; i < requests.length(); ++i) {
      const Argument item = requests.at(i);
      const Owner<heed::Model>& owner = unwrap<Model>(item.field("model")).owner();
      if (first == nullptr) first = &owner;
      require(owner.thread() == first->thread(), "the models belong to different engines");
      list.push_back({owner.resource(), item.field("batch").batch(), float(item.field("temperature").number())});
    }
    require(first != nullptr, "requests is empty, expected at least one");
    return first->submit(
        info.Env(),
        [list = std::move(list)](heed::Model&) mutable {
          std::vector<TogetherRequest> together;
          for (Request& each : list) together.push_back({each.model->get(), std::move(each.batch), each.temperature});
          return heed::compute_together(together);
        },
        [](Napi::Env env, const std::vector<TogetherResult>& results) -> Napi::Value {
          auto out = Napi::Array::New(env);
          for (const TogetherResult& result : results) {
            auto item = Napi::Object::New(env);
            item.Set("values", to_js(env, result.values));
            item.Set("entropy", to_js(env, result.entropy));
            out.Set(out.Length(), item);
          }
          return out;
        });
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
