// One transformer block, GPT-2 style and Llama style: what it keeps for the backward pass, and both passes as lists of
// ops.
#pragma once

#include "native/model/batch.h"
#include "native/model/params.h"

namespace heed {

struct BlockActs {
  Tensor norm1, norm1_mean, norm1_rstd, qkv, att, att_lse;
  Tensor mid;  // the residual stream between the halves
  Tensor norm2, norm2_mean, norm2_rstd, up, act;

  static BlockActs take(Arena& arena, const ModelConfig& config, int64_t N);
};

// Residual dropout (Ouyang et al. 2022, app. C.1: 0.2 in SFT); rate 0 is off.
struct DropoutKey {
  float rate = 0;
  uint64_t seed = 0;  // of the optimizer step
};

// x, out: (N, C), the residual stream. layer: of the cache, and which dropout.
void block_forward(Backend& b, Arena& arena, const ModelConfig& c, const BlockParams& p, const BlockActs& a,
                   const Batch& batch, const Tensor& rope_cos, const Tensor& rope_sin, const DropoutKey& dropout,
                   int64_t layer, Tensor x, Tensor out);

// dx: (N, C). In: d loss / d out. Out: d loss / d x. Adds to dp.
void block_backward(Backend& b, Arena& arena, const ModelConfig& c, const BlockParams& p, const BlockParams& dp,
                    const BlockActs& a, const Batch& batch, const Tensor& rope_cos, const Tensor& rope_sin,
                    const DropoutKey& dropout, int64_t layer, Tensor x, Tensor dx);

}  // namespace heed
