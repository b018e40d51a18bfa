// The PPO losses (Schulman et al. 2017, eq. 7; Ouyang et al. 2022, §3.5). Logits are f32 or bf16; all other
// tensors are f32 unless marked i32.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// Columns of PpoPolicyLoss::row_stats.
enum PpoPolicyStat { kPolicyLoss, kPolicyLogprob, kPolicyRatio, kPolicyClipped, kPolicyEntropy, kNumPolicyStats };

// Clipped policy loss, forward and backward in one op, so that the (R, V) logits are never copied.
//
//   logprob = log_softmax(logits[r, :V] / temperature)[targets[r]]
//   ratio   = exp(logprob - old_logprobs[r])
//   loss    = Σ_r scale · (max(-A·ratio, -A·clip(ratio, 1-ε, 1+ε)) - entropy_coef · entropy)
// With dual_clip = c > 1, the loss of a row with A < 0 is at most -c·A (Ye et al. 2020); 0 is off.
struct PpoPolicyLoss {
  InOut logits;      // (R, Vp)  in: logits; out: d loss / d logits, 0 in columns ≥ V
  Out row_stats;     // (R, kNumPolicyStats), not multiplied by scale
  In targets;        // (R) i32, each in [0, V)
  In old_logprobs;   // (R) nats
  In advantages;     // (R)
  int64_t vocab;     // V
  float clip_range;  // ε
  float dual_clip;   // c, or 0
  float entropy_coef;
  float temperature;  // > 0, as in the rollout
  float scale;        // 1 / (response tokens of the whole optimizer step)
  void check() const;
};

enum PpoValueStat { kValueLoss, kValueClipped, kNumValueStats };

//   loss = Σ_r scale · ½ max((v - R)², (clip(v, old ± ε) - R)²)
// clip_range = +inf disables clipping.
struct PpoValueLoss {
  Out dvalues;    // (R)
  Out row_stats;  // (R, kNumValueStats), not multiplied by scale
  In values;      // (R)
  In old_values;  // (R)
  In returns;     // (R)
  float clip_range;
  float scale;
  void check() const;
};

}  // namespace heed::op
