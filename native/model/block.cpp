#include "native/model/block.h"

namespace heed {

namespace {

// What attention or the MLP reads: x, normalized with pre norms.
Tensor read_forward(const PassContext& pass, const NormParams& p, const NormActs& acts, Tensor x) {
  if (!pass.config().pre_norm) return x;
  norm_forward(pass, p, acts, x);
  return acts.out;
}
Tensor what_is_read(const PassContext& pass, const NormActs& acts, Tensor x) {
  return pass.config().pre_norm ? acts.out : x;
}
// dx +=
void read_backward(const PassContext& pass, const NormParams& p, const NormParams& grads, const NormActs& acts,
                   Tensor dx, Tensor d_read, Tensor x) {
  if (pass.config().pre_norm)
    norm_backward(pass, p, grads, acts, dx, d_read, x);
  else
    pass.backend.run(op::Add{.out = dx, .a = dx, .b = d_read});
}

}  // namespace

BlockActs BlockActs::take(const PassContext& pass) {
  const bool pre_norm = pass.config().pre_norm;
  BlockActs acts;
  if (pre_norm) acts.attention_norm = NormActs::take(pass);
  acts.attention = AttentionActs::take(pass);
  acts.mid = pass.activation(pass.tokens(), pass.config().channels);
  if (pre_norm) acts.mlp_norm = NormActs::take(pass);
  acts.mlp = MlpActs::take(pass);
  return acts;
}

void block_forward(const PassContext& pass, int64_t layer, const BlockActs& acts, Tensor x, Tensor out) {
  const BlockParams& p = pass.params().blocks[size_t(layer)];
  const Tensor attention_in = read_forward(pass, p.attention_norm, acts.attention_norm, x);
  attention_forward(pass, p.attention, acts.attention, layer, acts.mid, attention_in, x);
  const Tensor mlp_in = read_forward(pass, p.mlp_norm, acts.mlp_norm, pass.config().parallel_residual ? x : acts.mid);
  mlp_forward(pass, p.mlp, acts.mlp, layer, out, mlp_in, acts.mid);
}

// block_forward in reverse. The residual additions need no code: their gradient is dx itself, to which the backward
// pass of what the halves read adds.
void block_backward(const PassContext& pass, int64_t layer, const BlockParams& grads, const BlockActs& acts, Tensor x,
                    Tensor dx) {
  const Arena::Scope scope(pass.arena);
  const BlockParams& p = pass.params().blocks[size_t(layer)];
  const bool parallel = pass.config().parallel_residual;
  const Tensor attention_in = what_is_read(pass, acts.attention_norm, x), mlp_x = parallel ? x : acts.mid,
               mlp_in = what_is_read(pass, acts.mlp_norm, mlp_x);
  const Tensor d_mlp_in = pass.activation(x.rows, x.cols);
  mlp_backward(pass, p.mlp, grads.mlp, acts.mlp, layer, d_mlp_in, dx, mlp_in);
  // A parallel attention's gradient is dx before the MLP's norm adds to it.
  const Tensor d_attention_in = parallel ? pass.activation(x.rows, x.cols) : d_mlp_in;
  if (!parallel) read_backward(pass, p.mlp_norm, grads.mlp_norm, acts.mlp_norm, dx, d_mlp_in, mlp_x);
  attention_backward(pass, p.attention, grads.attention, acts.attention, layer, d_attention_in, dx, attention_in);
  if (parallel) read_backward(pass, p.mlp_norm, grads.mlp_norm, acts.mlp_norm, dx, d_mlp_in, mlp_x);
  read_backward(pass, p.attention_norm, grads.attention_norm, acts.attention_norm, dx, d_attention_in, x);
}

}  // namespace heed
