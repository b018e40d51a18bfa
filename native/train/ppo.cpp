// PPO's policy and value losses (Ouyang et al. 2022, §3.5 and app. C.4).
#include "native/train/losses.h"

namespace heed {
namespace {

void require_rows(const char* name, size_t size, size_t rows) {
  require(size == rows, name, " has ", size, " entries, expected one per row, ", rows);
}

}  // namespace

PolicyLossResult Trainer::ppo(const HostBatch& batch, const PolicyLossOptions& o) {
  const size_t R = batch.rows.size();
  require_rows("oldLogprobs", o.old_logprobs.size(), R);
  require_rows("advantages", o.advantages.size(), R);
  std::vector<float> stats(R * op::kNumPolicyStats);
  const auto loss = [&](Backend& b, Arena& arena, const Tensor& targets, const Tensor& logits, const Tensor& row_stats,
                        int64_t first) {
    const int64_t n = logits.rows;
    b.run(op::PpoPolicyLoss{.logits = logits,
                            .row_stats = row_stats,
                            .targets = targets,
                            .old_logprobs = upload_vector(b, arena, o.old_logprobs.data() + first, n),
                            .advantages = upload_vector(b, arena, o.advantages.data() + first, n),
                            .vocab = model_->config().vocab,
                            .clip_range = o.clip_range,
                            .dual_clip = o.dual_clip,
                            .entropy_coef = o.entropy_coef,
                            .temperature = o.temperature,
                            .scale = o.scale});
  };
  language_loss(batch, {}, op::kNumPolicyStats, stats.data(), loss);
  PolicyLossResult result;
  for (size_t r = 0; r < R; ++r) {
    const float* s = &stats[r * op::kNumPolicyStats];
    result.loss += s[op::kPolicyLoss];
    result.clipped += s[op::kPolicyClipped];
    result.entropy += s[op::kPolicyEntropy];
    result.logprobs.push_back(s[op::kPolicyLogprob]);
    result.ratio.push_back(s[op::kPolicyRatio]);
  }
  return result;
}

ValueLossResult Trainer::value(const HostBatch& batch, const ValueLossOptions& o) {
  require(model_->config().head == Head::kScalar,
          "the value loss needs a model with a scalar head, but this is a language model");
  const size_t R = batch.rows.size();
  require_rows("oldValues", o.old_values.size(), R);
  require_rows("returns", o.returns.size(), R);
  ValueLossResult result;
  result.values.resize(R);
  std::vector<float> stats(R * op::kNumValueStats);
  const auto passes = batch.split(model_->config(), engine()->max_tokens(), false);
  scalar_loss(batch, passes, [&](Backend& b, Arena& arena, const Tensor& values, const HostBatch::Pass& pass) {
    const int64_t n = values.rows, first = pass.row_begin;
    const Tensor dvalues = arena.take(DType::f32, n), row_stats = arena.take(DType::f32, n, op::kNumValueStats);
    b.run(op::PpoValueLoss{.dvalues = dvalues,
                           .row_stats = row_stats,
                           .values = values,
                           .old_values = upload_vector(b, arena, o.old_values.data() + first, n),
                           .returns = upload_vector(b, arena, o.returns.data() + first, n),
                           .clip_range = o.clip_range,
                           .scale = o.scale});
    b.download(result.values.data() + first, values);
    b.download(stats.data() + first * op::kNumValueStats, row_stats);
    return dvalues;
  });
  for (size_t r = 0; r < R; ++r) {
    result.loss += stats[r * op::kNumValueStats + op::kValueLoss];
    result.clipped += stats[r * op::kNumValueStats + op::kValueClipped];
  }
  return result;
}

}  // namespace heed
