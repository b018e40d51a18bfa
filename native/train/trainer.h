// Gradients and AdamW state of one model, or of an adapter alone: its base is frozen. Losses add to the gradients;
// step() applies and clears them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "native/model/model.h"
#include "native/model/transformer.h"

namespace heed {

struct TrainerOptions {
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;
  float weight_decay = 0;               // on matrices only
  float dropout = 0;                    // residual dropout
  bool gradient_checkpointing = false;  // see PassContext
};

struct StepOptions {
  float learning_rate = 0;
  float max_grad_norm = 0;   // over all parameters; 0: no clipping
  Model* average = nullptr;  // a moving average of the parameters, updated after the step
  float average_weight = 0;  // average += average_weight * (parameters - average)
};
struct StepResult {
  double grad_norm = 0;  // before clipping
  double last_norm = 0;  // of the gradient added since set_aside()
};

struct SftResult {
  double loss = 0;  // Σ nats, not multiplied by scale
  std::vector<float> row_loss;
};

struct PolicyLossOptions {
  std::vector<float> old_logprobs, advantages;  // (R)
  float clip_range = 0.2f, dual_clip = 0, entropy_coef = 0, temperature = 1, scale = 1;
};
struct PolicyLossResult {
  double loss = 0, clipped = 0, entropy = 0;  // Σ over rows
  std::vector<float> logprobs, ratio;         // (R)
};

struct ValueLossOptions {
  std::vector<float> old_values, returns;  // (R)
  float clip_range = 0.2f, scale = 1;
};
struct ValueLossResult {
  double loss = 0, clipped = 0;  // Σ over rows
  std::vector<float> values;     // (R)
};

struct RewardLossOptions {
  std::vector<int32_t> ranks, cu_groups;  // (R), (G + 1)
  float scale = 1;
};
struct RewardLossResult {
  std::vector<float> scores;       // (R)
  std::vector<float> group_stats;  // (G, kNumPairwiseStats)
};

class Trainer {
 public:
  Trainer(std::shared_ptr<Model> model, const TrainerOptions& options);

  const std::shared_ptr<Engine>& engine() const { return model_->engine(); }
  const std::shared_ptr<Model>& model() const { return model_; }

  SftResult sft(const HostBatch& batch, float scale, uint64_t dropout_seed, float adapter_dropout = 0);
  PolicyLossResult ppo(const HostBatch& batch, const PolicyLossOptions& options);
  ValueLossResult value(const HostBatch& batch, const ValueLossOptions& options);
  RewardLossResult reward(const HostBatch& batch, const RewardLossOptions& options);

  // Sets the accumulated gradient aside until step() adds it back, and returns its norm: to measure the norms of two
  // losses separately.
  double set_aside();
  void zero();
  // See step_together().
  StepResult step(const StepOptions& options);
  std::vector<float> gradient(const std::string& name);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps);
  // The moments, and for a bf16 model the parameters and their average in f32; tensors are named "m.", "v.",
  // "w." or "a." + the parameter's name.
  void read(const std::string& path, const std::vector<FileTensor>& tensors);
  void write(const std::string& path, const std::vector<uint8_t>& prefix, const std::vector<FileTensor>& tensors);

 private:
  // Forward and backward of every pass of a language loss: loss(b, arena, targets, logits, row_stats, first row) of a
  // chunk of rows fills row_stats (rows, num_stats) and leaves d loss / d logits in logits. stats: (R, num_stats).
  template <class Loss>
  void language_loss(const HostBatch& host, const DropoutKey& dropout, int64_t num_stats, float* stats, Loss loss);
  // The same of a scalar loss: loss(b, arena, scores, part) returns d loss / d scores.
  template <class Loss>
  void scalar_loss(const HostBatch& host, const std::vector<HostBatch::Pass>& parts, Loss loss);
  // A loss that throws after its first pass has begun leaves the gradients undefined: until zero(), all calls that need
  // them throw. Errors found before that, such as invalid values or too little memory, change nothing.
  template <class Work>
  void adding_gradients(Work work);
  ParamStore f32_store() const;
  friend std::vector<StepResult> step_together(const std::vector<struct TrainerStep>& steps);
  void check_step(const StepOptions& options) const;
  std::vector<op::AdamW> updates(const StepOptions& options, double grad_norm);
  double norm(const Tensor& x);
  void for_moments(const std::vector<FileTensor>& tensors,
                   const std::function<void(const std::vector<Tensor>&, const FileTensor&)>& f);

  std::shared_ptr<Model> model_;
  TrainerOptions options_;
  ParamStore grads_, m_, v_;
  std::optional<ParamStore> master_;   // the parameters in f32, if the model's are bf16 (op::AdamW)
  std::optional<ParamStore> average_;  // StepOptions::average in f32, likewise
  std::optional<ParamStore> aside_;
  bool has_aside_ = false, undefined_ = false;
  int64_t steps_ = 0;
};

struct TrainerStep {
  Trainer* trainer;
  StepOptions options;
};
// One optimizer step of each trainer, all or none: before the first parameter changes, all gradients are checked to be
// finite, and nothing can fail or be cancelled after that. Then the gradients are cleared and the averages updated.
// Throws Error(NotFinite) that names the model; that trainer needs zero(), the others keep their gradients.
std::vector<StepResult> step_together(const std::vector<TrainerStep>& steps);

}  // namespace heed
