#include "native/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace heed {
namespace {

std::shared_ptr<Model> trainable(std::shared_ptr<Model> model) {
  require(!model->is_int8(), "the model's weights are of 8 bits and frozen: train an adapter to it");
  return model;
}

}  // namespace

Trainer::Trainer(std::shared_ptr<Model> model, const TrainerOptions& options)
    : model_(trainable(std::move(model))), options_(options), grads_(f32_store()), m_(f32_store()), v_(f32_store()) {
  if (engine()->dtype() != DType::f32) master_ = f32_store();
  const auto below_one = [](const char* name, float value) {
    require(value >= 0 && value < 1, name, " is ", value, ", expected 0 or more and less than 1");
  };
  below_one("beta1", options.beta1);
  below_one("beta2", options.beta2);
  below_one("dropout", options.dropout);
  require(options.eps > 0 && std::isfinite(options.eps), "eps is ", options.eps, ", expected a positive number");
  require(options.weight_decay >= 0 && std::isfinite(options.weight_decay), "weightDecay is ", options.weight_decay,
          ", expected 0 or more");
}

ParamStore Trainer::f32_store() const {
  return {*engine(), model_->own(), Engine::Purpose::kOptimizer, DType::f32};
}

double Trainer::norm(const Tensor& x) {
  double sum = 0;
  engine()->run([&](Backend& b, Arena& arena) {
    const Tensor out = arena.take(DType::f64, 1);
    b.run(op::SquaredNorm{.sum = out, .x = x});
    b.download(&sum, out);
  });
  return std::sqrt(sum);
}

void Trainer::zero() {
  engine()->backend().zero(grads_.all());
  has_aside_ = false;
  undefined_ = false;
}

double Trainer::set_aside() {
  require(!undefined_, "a loss failed, so the gradients are undefined: call zero() first");
  require(!has_aside_, "a gradient is already set aside");
  Backend& b = engine()->backend();
  if (!aside_) aside_ = f32_store();
  const double result = norm(grads_.all());
  b.copy(aside_->all(), grads_.all());
  b.zero(grads_.all());
  has_aside_ = true;
  return result;
}

void Trainer::check_step(const StepOptions& o) const {
  require(!undefined_, "a loss failed, so the gradients are undefined: call zero() first");
  require(o.learning_rate >= 0 && std::isfinite(o.learning_rate), "learningRate is ", o.learning_rate,
          ", expected 0 or more");
  require(o.max_grad_norm >= 0, "maxGradNorm is ", o.max_grad_norm, ", expected 0 (off) or more");
  if (o.average == nullptr) return;
  require(o.average != model_.get(), "average is the model itself, expected a copy");
  require(o.average_weight >= 0 && o.average_weight <= 1, "the weight of average is ", o.average_weight,
          ", expected 0 to 1");
  o.average->require_mixable(*model_);
}

// The ops of one AdamW step.
std::vector<op::AdamW> Trainer::updates(const StepOptions& o, double grad_norm) {
  const double clip = o.max_grad_norm > 0 && grad_norm > o.max_grad_norm ? o.max_grad_norm / grad_norm : 1;
  const double correction1 = 1 - std::pow(double(options_.beta1), double(steps_ + 1));
  const double correction2 = 1 - std::pow(double(options_.beta2), double(steps_ + 1));
  std::vector<Tensor> grads, ms, vs, masters;
  const auto list = [&](ParamStore& store, std::vector<Tensor>& out) {
    model_->own().visit(store.params, [&](Tensor& t, const ParamSpec&) { out.push_back(t); });
  };
  list(grads_, grads);
  list(m_, ms);
  list(v_, vs);
  if (master_) list(*master_, masters);
  std::vector<op::AdamW> ops;
  model_->visit_own([&](Tensor& param, const ParamSpec& spec) {
    const size_t i = ops.size();
    ops.push_back({.weight = master_ ? masters[i] : param,
                   .m = ms[i],
                   .v = vs[i],
                   .param = master_ ? param : Tensor{},
                   .grad = grads[i],
                   .learning_rate = o.learning_rate,
                   .beta1 = options_.beta1,
                   .beta2 = options_.beta2,
                   .eps = options_.eps,
                   .weight_decay = spec.decay ? options_.weight_decay : 0.0f,
                   .correction1 = float(correction1),
                   .correction2 = float(correction2),
                   .grad_scale = float(clip)});
  });
  return ops;
}

std::vector<StepResult> step_together(const std::vector<TrainerStep>& steps) {
  require(!steps.empty(), "steps is empty, expected at least one trainer");
  Engine& engine = *steps[0].trainer->engine();
  std::vector<StepResult> results;
  for (const auto& [trainer, options] : steps) {
    require(trainer->engine().get() == &engine, "the trainers belong to different engines");
    const auto same = [t = trainer](const TrainerStep& step) { return step.trainer == t; };
    require(std::count_if(steps.begin(), steps.end(), same) == 1, "a trainer is listed twice");
    trainer->check_step(options);
  }
  for (const auto& [trainer, options] : steps)
    if (options.average != nullptr && trainer->master_ && !trainer->average_) trainer->average_ = trainer->f32_store();
  for (const auto& [trainer, options] : steps) {
    StepResult& result = results.emplace_back();
    result.last_norm = trainer->norm(trainer->grads_.all());
  }
  Backend& b = engine.backend();
  b.set_cancel(nullptr);  // from here on all steps are taken, unless a gradient is not finite
  const auto refuse_unless_finite = [](Trainer& t, double norm) {
    if (std::isfinite(norm)) return;
    t.undefined_ = true;
    throw Error(ErrorCode::NotFinite, std::string("the gradient of the ") +
                                          (t.model_->config().head == Head::kScalar ? "scalar" : "language") +
                                          " model is not finite: step " + std::to_string(t.steps_ + 1) +
                                          " was not taken and no parameter has changed");
  };
  for (size_t i = 0; i < steps.size(); ++i) refuse_unless_finite(*steps[i].trainer, results[i].last_norm);
  std::vector<std::vector<op::AdamW>> updates;
  for (size_t i = 0; i < steps.size(); ++i) {
    Trainer& t = *steps[i].trainer;
    StepResult& result = results[i];
    result.grad_norm = result.last_norm;
    if (t.has_aside_) {
      b.run(op::Add{.out = t.grads_.all(), .a = t.grads_.all(), .b = t.aside_->all()});
      t.has_aside_ = false;
      result.grad_norm = t.norm(t.grads_.all());
    }
    refuse_unless_finite(t, result.grad_norm);
    updates.push_back(t.updates(steps[i].options, result.grad_norm));
  }

  for (size_t i = 0; i < steps.size(); ++i) {
    Trainer& t = *steps[i].trainer;
    for (const op::AdamW& update : updates[i]) b.run(update);
    t.model_->count_change();
    ++t.steps_;
    if (Model* average = steps[i].options.average; average != nullptr && t.average_) {
      average->count_change();
      b.run(op::Lerp{.out = t.average_->all(),
                     .param = average->values(),
                     .x = t.master_->all(),
                     .weight = steps[i].options.average_weight});
    } else if (average != nullptr) {
      average->lerp(*t.model_, steps[i].options.average_weight);
    }
    t.zero();
  }
  return results;
}

StepResult Trainer::step(const StepOptions& options) {
  return step_together({{this, options}})[0];
}

std::vector<float> Trainer::gradient(const std::string& name) {
  std::vector<float> values;
  model_->own().visit(grads_.params, [&](Tensor& t, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts)
      if (part.name == name) values = download_pieces(engine()->backend(), part.of(t));
  });
  require(!values.empty(), "the model has no parameter ", name);
  return values;
}

void Trainer::set_steps(int64_t steps) {
  require(steps >= 0, "steps is ", steps, ", expected 0 or more");
  steps_ = steps;
}

void Trainer::for_moments(const std::vector<FileTensor>& tensors,
                          const std::function<void(const std::vector<Tensor>&, const FileTensor&)>& f) {
  std::map<std::string, std::vector<Tensor>> rows;
  const auto collect = [&](ParamStore& store, const std::string& prefix) {
    model_->own().visit(store.params, [&](Tensor& t, const ParamSpec& spec) {
      for (const NamedPart& part : spec.parts) rows[prefix + part.name] = part.of(t);
    });
  };
  collect(m_, "m.");
  collect(v_, "v.");
  if (master_) collect(*master_, "w.");
  if (average_) collect(*average_, "a.");
  for (const FileTensor& place : tensors) {
    const auto it = rows.find(place.name);
    require(it != rows.end(), "the optimizer has no tensor ", place.name);
    f(it->second, place);
  }
}

void Trainer::read(const std::string& path, const std::vector<FileTensor>& tensors) {
  TensorReader file(path);
  const auto of_average = [](const FileTensor& place) { return place.name.starts_with("a."); };
  if (master_ && !average_ && std::any_of(tensors.begin(), tensors.end(), of_average)) average_ = f32_store();
  for_moments(tensors, [&](const std::vector<Tensor>& rows, const FileTensor& place) {
    file.read(engine()->backend(), rows, place);
  });
}

void Trainer::write(const std::string& path, const std::vector<uint8_t>& prefix,
                    const std::vector<FileTensor>& tensors) {
  TensorWriter file(path, prefix);
  for_moments(tensors, [&](const std::vector<Tensor>& rows, const FileTensor& place) {
    file.write(engine()->backend(), rows, place);
  });
  file.finish();
}

}  // namespace heed
