// One transformer block: x + attention(norm(x)), then the same with the MLP, or both from x (parallel residual).
#pragma once

#include "native/model/attention.h"

namespace heed {

// Activations that a block keeps for its backward pass.
struct BlockActs {
  NormActs attention_norm;
  AttentionActs attention;
  Tensor mid;  // (N, C) the residual stream with attention added
  NormActs mlp_norm;
  MlpActs mlp;
  static BlockActs take(const PassContext& pass);
};

// x, out: (N, C), the residual stream. Without out, only the activations are computed.
void block_forward(const PassContext& pass, int64_t layer, const BlockActs& acts, Tensor x, Tensor out);

// dx: (N, C). In: d loss / d out. Out: d loss / d x. Adds to grads.
void block_backward(const PassContext& pass, int64_t layer, const BlockParams& grads, const BlockActs& acts, Tensor x,
                    Tensor dx);

}  // namespace heed
