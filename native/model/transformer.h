// The trunk: embedding, blocks, final norm; forward and backward. And its heads, in row chunks.
#pragma once

#include "native/model/block.h"
#include "native/model/model.h"

namespace heed {

// What a forward pass leaves behind. blocks and x are complete only if the pass kept them.
struct TrunkActs {
  std::vector<BlockActs> blocks;
  std::vector<Tensor> x;   // (N, C) × (L + 1): the residual stream before each block, and after the last
  Tensor out, mean, rstd;  // (N, C), (N), (N): after the final norm
};

// keep: for a backward pass. Without it the blocks share their memory.
TrunkActs trunk_forward(Engine& engine, Backend& b, Arena& arena, const Model& model, const Batch& batch,
                        const DropoutKey& dropout, bool keep);

// dout: (N, C), the gradient of acts.out; used as scratch. Adds to grads.
void trunk_backward(Backend& b, Arena& arena, const Model& model, const Params& grads, const Batch& batch,
                    const DropoutKey& dropout, const TrunkActs& acts, Tensor dout);

// Rows of logits held at once: about 32 MB.
int64_t logits_chunk_rows(const ModelConfig& config);

// out (r, C) = the rows of the trunk's output; logits (r, Vp) = out · headᵀ
struct HeadRows {
  Tensor hidden, logits;
};
HeadRows lm_head_forward(Backend& b, Arena& arena, const Model& model, const Tensor& trunk_out, const Tensor& rows);
void lm_head_backward(Backend& b, Arena& arena, const Model& model, const Params& grads, const HeadRows& head,
                      const Tensor& rows, Tensor dtrunk);

// (R, 1) scores of rows; the backward pass takes dscores (R, 1).
Tensor scalar_head_forward(Backend& b, Arena& arena, const Model& model, const Tensor& hidden);
void scalar_head_backward(Backend& b, Arena& arena, const Model& model, const Params& grads, const Tensor& hidden,
                          const Tensor& dscores, const Tensor& rows, Tensor dtrunk);

}  // namespace heed
