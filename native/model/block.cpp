#include "native/model/block.h"

namespace heed {

BlockActs BlockActs::take(const PassContext& pass) {
  BlockActs acts;
  acts.attention_norm = NormActs::take(pass);
  acts.attention = AttentionActs::take(pass);
  acts.mid = pass.activation(pass.tokens(), pass.config().channels);
  acts.mlp_norm = NormActs::take(pass);
  acts.mlp = MlpActs::take(pass);
  return acts;
}

void block_forward(const PassContext& pass, int64_t layer, const BlockActs& acts, Tensor x, Tensor out) {
  const BlockParams& p = pass.model.params().blocks[size_t(layer)];
  norm_forward(pass, p.attention_norm, acts.attention_norm, x);
  attention_forward(pass, p.attention, acts.attention, layer, acts.mid, acts.attention_norm.out, x);
  norm_forward(pass, p.mlp_norm, acts.mlp_norm, acts.mid);
  mlp_forward(pass, p.mlp, acts.mlp, layer, out, acts.mlp_norm.out, acts.mid);
}

// block_forward in reverse. The residual additions need no code: their gradient is dx itself, to which the backward
// pass of the norm adds.
void block_backward(const PassContext& pass, int64_t layer, const BlockParams& grads, const BlockActs& acts, Tensor x,
                    Tensor dx) {
  const Arena::Scope scope(pass.arena);
  const BlockParams& p = pass.model.params().blocks[size_t(layer)];
  const Tensor d_norm = pass.activation(x.rows, x.cols);
  mlp_backward(pass, p.mlp, grads.mlp, acts.mlp, layer, d_norm, dx, acts.mlp_norm.out);
  norm_backward(pass, p.mlp_norm, grads.mlp_norm, acts.mlp_norm, dx, d_norm, acts.mid);
  attention_backward(pass, p.attention, grads.attention, acts.attention, layer, d_norm, dx, acts.attention_norm.out);
  norm_backward(pass, p.attention_norm, grads.attention_norm, acts.attention_norm, dx, d_norm, x);
}

}  // namespace heed
