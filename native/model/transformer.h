// The trunk (embedding, blocks, final norm) and its heads, forward and backward.
#pragma once

#include "native/model/block.h"

namespace heed {

// The activations of a forward pass. x is complete only if the pass kept it, and blocks if it also has no
// checkpointing; else the last block's are there.
struct TrunkActs {
  std::vector<BlockActs> blocks;
  std::vector<Tensor> x;  // (N, C) × (L + 1): the residual stream before each block, and after the last
  NormActs norm;
  Tensor out() const { return norm.out; }  // (N, C)
};

// keep: keeps the activations for a backward pass. Otherwise the blocks share their memory.
TrunkActs trunk_forward(const PassContext& pass, bool keep);
// dout: (N, C), the gradient of acts.out(). Adds to grads.
void trunk_backward(const PassContext& pass, const Params& grads, const TrunkActs& acts, Tensor dout);

// Rows of the trunk's output, and their logits (r, Vp) or scores (r, 1).
struct HeadRows {
  Tensor hidden;  // (r, C)
  Tensor out;
  Tensor capped;  // logits as they were before a loss replaced them by their gradient, if they are soft-capped
};
// keep: for a backward pass
HeadRows language_head_forward(const PassContext& pass, Tensor trunk_out, Tensor rows, bool keep = false);
Tensor language_logits(const PassContext& pass, Tensor hidden);  // of all rows
HeadRows scalar_head_forward(const PassContext& pass, Tensor trunk_out, Tensor rows);

// dout: the gradient of head.out. Adds to grads and to dtrunk (N, C).
void language_head_backward(const PassContext& pass, const Params& grads, const HeadRows& head, Tensor dout,
                            Tensor rows, Tensor dtrunk);
void scalar_head_backward(const PassContext& pass, const Params& grads, const HeadRows& head, Tensor dout, Tensor rows,
                          Tensor dtrunk);

}  // namespace heed
