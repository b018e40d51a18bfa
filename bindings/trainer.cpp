#include "bindings/trainer.h"

#include "bindings/model.h"

namespace heed::bindings {

Napi::Function Trainer::define(Napi::Env env) {
  return DefineClass(env, "Trainer",
                     {
                         InstanceMethod("sft", &Trainer::sft),
                         InstanceMethod("ppo", &Trainer::ppo),
                         InstanceMethod("value", &Trainer::value),
                         InstanceMethod("reward", &Trainer::reward),
                         InstanceMethod("setAside", &Trainer::set_aside),
                         InstanceMethod("zero", &Trainer::zero),
                         InstanceMethod("gradient", &Trainer::gradient),
                         InstanceAccessor<&Trainer::steps>("steps"),
                         InstanceMethod("setSteps", &Trainer::set_steps),
                         InstanceMethod("read", &Trainer::read),
                         InstanceMethod("write", &Trainer::write),
                         InstanceMethod("dispose", &Trainer::dispose),
                     });
}

Trainer::Trainer(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const auto& model = unwrap<Model>(argument(info, 0, "model")).owner();
    const Argument o = argument(info, 1, "options");
    const TrainerOptions options{.beta1 = float(o.field("beta1").number()),
                                 .beta2 = float(o.field("beta2").number()),
                                 .eps = float(o.field("eps").number()),
                                 .weight_decay = float(o.field("weightDecay").number()),
                                 .dropout = float(o.field("dropout").number()),
                                 .gradient_checkpointing = o.field("gradientCheckpointing").boolean()};
    auto resource = std::make_shared<Resource<heed::Trainer>>(
        "trainer", model.resource(),
        [model = model.resource(), options] { return std::make_shared<heed::Trainer>(model->get(), options); });
    owner_.emplace(model.thread(), std::move(resource), "trainer");
    info.This().As<Napi::Object>().TypeTag(&kTag);
  });
}

Napi::Value Trainer::sft(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto batch = argument(info, 0, "batch").batch();
    const Argument o = argument(info, 1, "options");
    const auto scale = float(o.field("scale").number());
    const auto seed = uint64_t(o.field("dropoutSeed").integer());
    const auto adapter_dropout = float(o.field("adapterDropout").number());
    return owner_->submit(
        info.Env(),
        [batch = std::move(batch), scale, seed, adapter_dropout](heed::Trainer& t) {
          return t.sft(batch, scale, seed, adapter_dropout);
        },
        [](Napi::Env env, const SftResult& result) -> Napi::Value {
          auto out = Napi::Object::New(env);
          out.Set("loss", result.loss);
          out.Set("rowLoss", to_js(env, result.row_loss));
          return out;
        });
  });
}

Napi::Value Trainer::ppo(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto batch = argument(info, 0, "batch").batch();
    const Argument o = argument(info, 1, "options");
    PolicyLossOptions options{.old_logprobs = o.field("oldLogprobs").floats(),
                              .advantages = o.field("advantages").floats(),
                              .clip_range = float(o.field("clipRange").number()),
                              .dual_clip = float(o.field("dualClip").number()),
                              .entropy_coef = float(o.field("entropyCoef").number()),
                              .temperature = float(o.field("temperature").number()),
                              .scale = float(o.field("scale").number())};
    return owner_->submit(
        info.Env(),
        [batch = std::move(batch), options = std::move(options)](heed::Trainer& t) { return t.ppo(batch, options); },
        [](Napi::Env env, const PolicyLossResult& result) -> Napi::Value {
          auto out = Napi::Object::New(env);
          out.Set("loss", result.loss);
          out.Set("clipped", result.clipped);
          out.Set("entropy", result.entropy);
          out.Set("logprobs", to_js(env, result.logprobs));
          out.Set("ratio", to_js(env, result.ratio));
          return out;
        });
  });
}

Napi::Value Trainer::value(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto batch = argument(info, 0, "batch").batch();
    const Argument o = argument(info, 1, "options");
    ValueLossOptions options{.old_values = o.field("oldValues").floats(),
                             .returns = o.field("returns").floats(),
                             .clip_range = float(o.field("clipRange").number()),
                             .scale = float(o.field("scale").number())};
    return owner_->submit(
        info.Env(),
        [batch = std::move(batch), options = std::move(options)](heed::Trainer& t) { return t.value(batch, options); },
        [](Napi::Env env, const ValueLossResult& result) -> Napi::Value {
          auto out = Napi::Object::New(env);
          out.Set("loss", result.loss);
          out.Set("clipped", result.clipped);
          out.Set("values", to_js(env, result.values));
          return out;
        });
  });
}

Napi::Value Trainer::reward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto batch = argument(info, 0, "batch").batch();
    const Argument o = argument(info, 1, "options");
    RewardLossOptions options{.ranks = o.field("ranks").integers(),
                              .cu_groups = o.field("cuGroups").integers(),
                              .scale = float(o.field("scale").number())};
    return owner_->submit(
        info.Env(),
        [batch = std::move(batch), options = std::move(options)](heed::Trainer& t) { return t.reward(batch, options); },
        [](Napi::Env env, const RewardLossResult& result) -> Napi::Value {
          auto out = Napi::Object::New(env);
          out.Set("scores", to_js(env, result.scores));
          out.Set("groupStats", to_js(env, result.group_stats));
          return out;
        });
  });
}

Napi::Value Trainer::set_aside(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return owner_->submit(
        info.Env(), [](heed::Trainer& t) { return t.set_aside(); },
        [](Napi::Env env, double norm) { return to_js(env, norm); });
  });
}

Napi::Value Trainer::zero(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return owner_->submit(info.Env(), [](heed::Trainer& t) { t.zero(); }); });
}

Napi::Value Trainer::step_together(const Napi::CallbackInfo& info) {
  struct Step {
    std::shared_ptr<Resource<heed::Trainer>> trainer;
    std::shared_ptr<std::atomic<int64_t>> steps;
    std::shared_ptr<Resource<heed::Model>> average;
    StepOptions options;
  };
  return guarded(info.Env(), [&] {
    std::vector<Step> list;
    const Owner<heed::Trainer>* first = nullptr;
    const Argument steps = argument(info, 0, "steps");
    for (uint32_t i = 0; i < steps.length(); ++i) {
      const Argument item = steps.at(i);
      Trainer& trainer = unwrap<Trainer>(item.field("trainer"));
      const Owner<heed::Trainer>& owner = *trainer.owner_;
      owner.check_alive();
      if (first == nullptr) first = &owner;
      require(owner.thread() == first->thread(), "the trainers belong to different engines");
      Step step{.trainer = owner.resource(),
                .steps = trainer.steps_,
                .average = nullptr,
                .options = {.learning_rate = float(item.field("learningRate").number()),
                            .max_grad_norm = float(item.field("maxGradNorm").number())}};
      const Argument average = item.field("average");
      if (!average.value().IsUndefined()) {
        const Owner<heed::Model>& model = unwrap<Model>(average).owner();
        require(model.thread() == first->thread(), "the average belongs to another engine");
        step.average = model.resource();
        step.options.average_weight = float(item.field("averageWeight").number());
      }
      list.push_back(std::move(step));
    }
    require(first != nullptr, "steps is empty, expected at least one trainer");
    return first->submit(
        info.Env(),
        [list = std::move(list)](heed::Trainer&) {
          std::vector<TrainerStep> steps;
          for (const Step& step : list) {
            steps.push_back({step.trainer->get().get(), step.options});
            if (step.average != nullptr) steps.back().options.average = step.average->get().get();
          }
          std::vector<StepResult> results = heed::step_together(steps);
          for (const Step& step : list) *step.steps = step.trainer->get()->steps();
          return results;
        },
        [](Napi::Env env, const std::vector<StepResult>& results) -> Napi::Value {
          auto out = Napi::Array::New(env);
          for (const StepResult& result : results) {
            auto item = Napi::Object::New(env);
            item.Set("gradNorm", result.grad_norm);
            item.Set("lastNorm", result.last_norm);
            out.Set(out.Length(), item);
          }
          return out;
        });
  });
}

Napi::Value Trainer::gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string name = argument(info, 0, "name").text();
    return owner_->submit(
        info.Env(), [name](heed::Trainer& t) { return t.gradient(name); },
        [](Napi::Env env, const std::vector<float>& values) { return to_js(env, values); });
  });
}

Napi::Value Trainer::steps(const Napi::CallbackInfo& info) {
  return to_js(info.Env(), double(*steps_));
}

Napi::Value Trainer::set_steps(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t count = argument(info, 0, "steps").integer();
    return owner_->submit(info.Env(), [count, steps = steps_](heed::Trainer& t) {
      t.set_steps(count);
      *steps = count;
    });
  });
}

Napi::Value Trainer::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string path = argument(info, 0, "path").text();
    auto tensors = argument(info, 1, "tensors").file_tensors();
    return owner_->submit(info.Env(),
                          [path, tensors = std::move(tensors)](heed::Trainer& t) { t.read(path, tensors); });
  });
}

Napi::Value Trainer::write(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string path = argument(info, 0, "path").text();
    auto prefix = argument(info, 1, "prefix").bytes();
    auto tensors = argument(info, 2, "tensors").file_tensors();
    return owner_->submit(
        info.Env(),
        [path, prefix = std::move(prefix), tensors = std::move(tensors)](heed::Trainer& t) {
          t.write(path, prefix, tensors);
          return double(t.steps());
        },
        [](Napi::Env env, double steps) { return to_js(env, steps); });
  });
}

Napi::Value Trainer::dispose(const Napi::CallbackInfo& info) {
  owner_->dispose();
  return info.Env().Undefined();
}

}  // namespace heed::bindings
