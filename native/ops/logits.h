// Cross-entropy and log-probabilities of chosen tokens. Columns ≥ V of logits are padding: never read, zero in a
// gradient. Logits are f32 or bf16; all other tensors are f32 unless marked i32.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// Forward and backward in one: loss = scale · Σ_r -log_softmax(logits[r, :V])[targets[r]]
struct CrossEntropyLoss {
  InOut logits;   // (R, Vp)  in: logits; out: d loss / d logits
  Out row_loss;   // (R) nats, not multiplied by scale
  In targets;     // (R) i32, in [0, V)
  int64_t vocab;  // V
  float scale;    // 1 / (rows of the whole optimizer step)
  void check() const;
};

// Forward only. Bit-identical to the log-probabilities in CrossEntropyLoss, PpoPolicyLoss and Sample.
struct TokenLogprobs {
  Out logprobs;      // (R) nats: log_softmax(logits[r, :V] / temperature)[targets[r]]
  Out entropy = {};  // (R) nats, or none
  In logits;         // (R, Vp)
  In targets;        // (R) i32
  int64_t vocab;
  float temperature;  // > 0
  void check() const;
};

}  // namespace heed::op
