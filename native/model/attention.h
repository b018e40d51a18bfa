// The attention half of a block.
#pragma once

#include "native/model/layers.h"

namespace heed {

struct AttentionActs {
  Tensor projected;  // (N, (H + 2 Hk) D), before the norm of queries and keys; only with that
  Tensor rstd;       // (N, parts that are normalized), likewise
  Tensor qkv;        // (N, (H + 2 Hk) D), after that norm and rotary positions
  Tensor out;        // (N, H D)
  Tensor lse;        // (N, H)
  BranchActs branch;
  static AttentionActs take(const PassContext& pass);
};

// out = residual + attention(x). layer: selects the cache, the window and the dropout.
void attention_forward(const PassContext& pass, const AttentionParams& p, const AttentionActs& acts, int64_t layer,
                       Tensor out, Tensor x, Tensor residual);
// dx = d loss / d x from dout; the residual's gradient is dout itself.
void attention_backward(const PassContext& pass, const AttentionParams& p, const AttentionParams& grads,
                        const AttentionActs& acts, int64_t layer, Tensor dx, Tensor dout, Tensor x);

}  // namespace heed
