// PPO's losses in double precision: Schulman et al. 2017, eq. 7, with dual clipping (Ye et al. 2020), and the value
// loss clipped around the value of the rollout.
#pragma once

#include "test/native/reference_logits.h"

namespace reference {

struct PpoPolicy {
  int64_t rows, vocab;
  std::vector<double> logits;  // (rows, vocab)
  std::vector<int32_t> targets;
  std::vector<double> old_logprobs, advantages;
  double clip_range, dual_clip, entropy_coef, temperature, scale;

  struct Row {
    double loss, logprob, ratio, entropy;
    bool clipped;
  };
  Row row(int64_t r) const {
    const std::vector<double> logp = log_softmax(&logits[size_t(r * vocab)], vocab, temperature);
    const double logprob = logp[size_t(targets[size_t(r)])], advantage = advantages[size_t(r)];
    const double ratio = std::exp(logprob - old_logprobs[size_t(r)]);
    const double surrogate = std::min(ratio * advantage, std::clamp(ratio, 1 - clip_range, 1 + clip_range) * advantage);
    bool clipped = surrogate < ratio * advantage;
    double loss = -surrogate;
    if (dual_clip > 0 && advantage < 0 && surrogate < dual_clip * advantage) {
      loss = -dual_clip * advantage;
      clipped = true;
    }
    return {loss - entropy_coef * entropy(logp), logprob, ratio, entropy(logp), clipped};
  }
  double loss() const {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += scale * row(r).loss;
    return sum;
  }
};

inline double value_loss(double value, double old_value, double target, double clip_range) {
  const double clipped = old_value + std::clamp(value - old_value, -clip_range, clip_range);
  return 0.5 * std::max(std::pow(value - target, 2), std::pow(clipped - target, 2));
}

}  // namespace reference
