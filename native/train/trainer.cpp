#include "native/train/trainer.h"

#include <cmath>
#include <map>

namespace heed {

Trainer::Trainer(std::shared_ptr<Model> model, const TrainerOptions& options)
    : model_(std::move(model)), options_(options), grads_(f32_store()), m_(f32_store()), v_(f32_store()) {
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
  return {*engine(), model_->config(), Engine::Purpose::kOptimizer, DType::f32};
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

StepResult Trainer::step(const StepOptions& o) {
  require(!undefined_, "a loss failed, so the gradients are undefined: call zero() first");
  require(o.learning_rate >= 0 && std::isfinite(o.learning_rate), "learningRate is ", o.learning_rate,
          ", expected 0 or more");
  require(o.max_grad_norm >= 0, "maxGradNorm is ", o.max_grad_norm, ", expected 0 (off) or more");
  Backend& b = engine()->backend();
  StepResult result;
  result.last_norm = norm(grads_.all());
  b.set_cancel(nullptr);  // from here on a step is taken whole
  if (has_aside_) b.run(op::Add{.out = grads_.all(), .a = grads_.all(), .b = aside_->all()});
  result.grad_norm = has_aside_ ? norm(grads_.all()) : result.last_norm;
  if (!std::isfinite(result.grad_norm)) {
    undefined_ = true;
    throw Error(ErrorCode::InvalidArgument, "the gradient is not finite, so step " + std::to_string(steps_ + 1) +
                                                " was not taken; the parameters are unchanged");
  }
  const double clip =
      o.max_grad_norm > 0 && result.grad_norm > o.max_grad_norm ? o.max_grad_norm / result.grad_norm : 1;
  ++steps_;
  const double correction1 = 1 - std::pow(double(options_.beta1), double(steps_));
  const double correction2 = 1 - std::pow(double(options_.beta2), double(steps_));

  std::vector<Tensor> grads, ms, vs, masters;
  const auto list = [&](ParamStore& store, std::vector<Tensor>& out) {
    store.params.visit(model_->config(), [&](Tensor& t, const ParamSpec&) { out.push_back(t); });
  };
  list(grads_, grads);
  list(m_, ms);
  list(v_, vs);
  if (master_) list(*master_, masters);
  size_t i = 0;
  model_->params().visit(model_->config(), [&](Tensor& param, const ParamSpec& spec) {
    b.run(op::AdamW{.weight = master_ ? masters[i] : param,
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
    ++i;
  });
  zero();
  return result;
}

std::vector<float> Trainer::gradient(const std::string& name) {
  std::vector<float> values;
  grads_.params.visit(model_->config(), [&](Tensor& t, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts) {
      if (part.name != name) continue;
      const Tensor rows = part.of(t);
      values.resize(size_t(rows.size()));
      engine()->backend().download(values.data(), rows);
    }
  });
  require(!values.empty(), "the model has no parameter ", name);
  return values;
}

void Trainer::set_steps(int64_t steps) {
  require(steps >= 0, "steps is ", steps, ", expected 0 or more");
  steps_ = steps;
}

void Trainer::for_moments(const std::vector<FileTensor>& tensors,
                          const std::function<void(const Tensor&, const FileTensor&)>& f) {
  std::map<std::string, Tensor> rows;
  const auto collect = [&](ParamStore& store, const std::string& prefix) {
    store.params.visit(model_->config(), [&](Tensor& t, const ParamSpec& spec) {
      for (const NamedPart& part : spec.parts) rows[prefix + part.name] = part.of(t);
    });
  };
  collect(m_, "m.");
  collect(v_, "v.");
  if (master_) collect(*master_, "w.");
  for (const FileTensor& place : tensors) {
    const auto it = rows.find(place.name);
    require(it != rows.end(), "the optimizer has no tensor ", place.name);
    f(it->second, place);
  }
}

void Trainer::read(const std::string& path, const std::vector<FileTensor>& tensors) {
  TensorReader file(path);
  for_moments(tensors,
              [&](const Tensor& rows, const FileTensor& place) { file.read(engine()->backend(), rows, place); });
}

void Trainer::write(const std::string& path, const std::vector<uint8_t>& prefix,
                    const std::vector<FileTensor>& tensors) {
  TensorWriter file(path, prefix);
  for_moments(tensors,
              [&](const Tensor& rows, const FileTensor& place) { file.write(engine()->backend(), rows, place); });
  file.finish();
}

}  // namespace heed
