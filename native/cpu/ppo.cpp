// The PPO losses. A row of logits is read from memory once, and its gradient is written while the row is cached.
#include "native/cpu/level.h"
#include "native/cpu/softmax.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::PpoPolicyLoss& op) {
  const int64_t padded = op.logits.cols;
  with_type(op.logits, [&](auto* logits) {
    for_rows(context, op.logits.rows, padded, [&](int64_t r) {
      auto* const z = logits + r * padded;
      const int32_t target = ints(op.targets)[r];
      const float z_target = value(z[target]);
      const Softmax s = softmax(z, op.vocab, op.temperature);
      const float logprob = s.logprob(z_target), ratio = exp(logprob - floats(op.old_logprobs)[r]);
      const math::PpoToken token = math::ppo_token(ratio, floats(op.advantages)[r], op.clip_range, op.dual_clip);
      float* stats = floats(op.row_stats) + r * op::kNumPolicyStats;
      stats[op::kPolicyLoss] = token.loss - op.entropy_coef * s.entropy;
      stats[op::kPolicyLogprob] = logprob;
      stats[op::kPolicyRatio] = token.ratio;
      stats[op::kPolicyClipped] = token.clipped;
      stats[op::kPolicyEntropy] = s.entropy;

      // With g = d loss / d logprob, H the entropy, c its coefficient, and log p_v = d_v - log_sum:
      //   d loss / dz_v = (g ([v == t] - p_v) + c p_v (log p_v + H)) / T
      const float scale = op.scale * s.inverse_temperature;
      const vec slope = splat(float(op.entropy_coef * scale / s.sum));
      const vec offset = splat(float((op.entropy_coef * (s.entropy - s.log_sum) - token.dlogprob) * scale / s.sum));
      const auto gradient = [&](vec z) {
        const vec d = s.scaled(z);
        return exp(d) * fma(slope, bounded(d), offset);
      };
      for_vectors(op.vocab, [&](int64_t i, int64_t n) { put(z + i, gradient(get(z + i, n)), n); });
      set(z[target], gradient(splat(z_target))[0] + token.dlogprob * scale);
      for (int64_t v = op.vocab; v < padded; ++v) set(z[v], 0.0f);
    });
  });
}

void run(Context&, const op::PpoValueLoss& op) {
  for (int64_t r = 0; r < op.values.rows; ++r) {
    const math::ValueToken token =
        math::value_token(floats(op.values)[r], floats(op.old_values)[r], floats(op.returns)[r], op.clip_range);
    floats(op.dvalues)[r] = op.scale * token.dvalue;
    float* stats = floats(op.row_stats) + r * op::kNumValueStats;
    stats[op::kValueLoss] = token.loss;
    stats[op::kValueClipped] = token.clipped;
  }
}

}  // namespace heed::cpu::HEED_LEVEL
