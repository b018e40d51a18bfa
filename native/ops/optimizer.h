// The optimizer step.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

struct SquaredNorm {
  Out sum;  // (1) f64: Σ x²
  In x;     // f32, any shape
  void check() const;
};

// Decoupled weight decay (Loshchilov & Hutter 2019), bias-corrected as PyTorch does:
//   g = grad · grad_scale,   m = β1 m + (1-β1) g,   v = β2 v + (1-β2) g²
//   weight -= lr · (m / (1-β1^t) / (sqrt(v / (1-β2^t)) + eps) + weight_decay · weight)
struct AdamW {
  InOut weight, m, v;  // f32, one shape
  // bf16: the rounded weight, with which the model computes; none if weight itself is the parameter. If it differs from
  // the rounded weight before the step, it was written in between: then weight starts from it.
  InOut param = {};
  In grad;  // f32
  float learning_rate, beta1, beta2, eps, weight_decay;
  float correction1, correction2;  // 1 - β1^t, 1 - β2^t
  float grad_scale;                // from clipping by the global norm
  void check() const;
};

// out += weight · (x - out): the exponential moving average of the weights.
struct Lerp {
  InOut out;
  InOut param = {};  // bf16, with out and x in f32, as in AdamW
  In x;              // of out's shape and type
  float weight;
  void check() const;
};

}  // namespace heed::op
