#include "native/model/layers.h"

namespace heed {

namespace {

void dropout(const PassContext& pass, float rate, uint32_t site, Tensor out, Tensor x) {
  pass.backend.run(op::Dropout{
      .out = out, .x = x, .rate = rate, .seed = pass.dropout.seed, .site = site, .first_row = pass.batch.first_token});
}

// An adapter's input: x through its dropout.
Tensor adapter_input(const PassContext& pass, const LowRank& adapter, Tensor x) {
  const float rate = pass.dropout.adapter_rate;
  if (rate == 0) return x;
  const Tensor input = pass.activation(x.rows, x.cols);
  dropout(pass, rate, adapter.site, input, x);
  return input;
}

// input·aᵀ
Tensor low_rank(const PassContext& pass, const LowRank& adapter, Tensor input) {
  const Tensor out = pass.activation(input.rows, adapter.a.rows);
  pass.backend.run(op::Gemm{.out = out, .a = input, .b = adapter.a, .transpose_b = true, .weight = true});
  return out;
}

void adapter_forward(const PassContext& pass, const LowRank& adapter, Tensor out, Tensor x) {
  const Arena::Scope scope(pass.arena);
  const Tensor rows = adapter.rows_of(x), hidden = low_rank(pass, adapter, adapter_input(pass, adapter, rows)),
               term = pass.activation(rows.rows, adapter.b.rows);
  pass.backend.run(op::Gemm{.out = term, .a = hidden, .b = adapter.b, .transpose_b = true, .weight = true});
  pass.backend.run(
      op::AddColumns{.out = adapter.rows_of(out), .x = term, .first = adapter.first, .scale = adapter.scale});
}

// With d = scale · dout of its columns and h = input·aᵀ:  db += dᵀ·h,  da += (d·b)ᵀ·input,  dx += (d·b)·a, through the
// dropout. h is computed again, since that takes less than memory for it.
void adapter_backward(const PassContext& pass, const LowRank& adapter, const LowRank& grads, Tensor dx, Tensor dout,
                      Tensor x) {
  const Arena::Scope scope(pass.arena);
  Backend& b = pass.backend;
  const Tensor input = adapter_input(pass, adapter, x), hidden = low_rank(pass, adapter, input);
  const Tensor d = pass.activation(x.rows, adapter.b.rows), d_hidden = pass.activation(x.rows, adapter.a.rows);
  b.run(op::TakeColumns{.out = d, .x = dout, .first = adapter.first, .scale = adapter.scale});
  b.run(op::Gemm{.out = d_hidden, .a = d, .b = adapter.b, .weight = true});
  b.run(op::Gemm{.out = grads.b, .a = d, .b = hidden, .transpose_a = true, .accumulate = true});
  b.run(op::Gemm{.out = grads.a, .a = d_hidden, .b = input, .transpose_a = true, .accumulate = true});
  const float rate = pass.dropout.adapter_rate;
  if (rate == 0) {
    b.run(op::Gemm{.out = dx, .a = d_hidden, .b = adapter.a, .accumulate = true, .weight = true});
    return;
  }
  b.run(op::Gemm{.out = input, .a = d_hidden, .b = adapter.a, .weight = true});
  dropout(pass, rate, adapter.site, input, input);
  b.run(op::Add{.out = dx, .a = dx, .b = input});
}

}  // namespace

void linear_forward(const PassContext& pass, const LinearParams& p, Tensor out, Tensor x, Tensor residual) {
  if (p.scale.rows != 0)
    pass.backend.run(
        op::Int8Gemm{.out = out, .a = x, .b = p.weight, .scale = p.scale, .bias = p.bias, .residual = residual});
  else
    pass.backend.run(op::Gemm{.out = out,
                              .a = x,
                              .b = p.weight,
                              .bias = p.bias,
                              .residual = residual,
                              .transpose_b = p.layout == Layout::kOutIn,
                              .weight = true});
  for (const LowRank& adapter : p.adapters) adapter_forward(pass, adapter, out, x);
}

// dx = dout·wᵀ,  dw += xᵀ·dout,  dbias += Σ dout
void linear_backward(const PassContext& pass, const LinearParams& p, const LinearParams& grads, Tensor dx, Tensor dout,
                     Tensor x) {
  const bool out_in = p.layout == Layout::kOutIn;
  Backend& b = pass.backend;
  // First: a device may have it from the pass that makes dout.
  if (grads.bias.rows != 0) b.run(op::BiasBackward{.dbias = grads.bias, .dout = dout});
  // Frozen weights are large beside everything else: no packed copy of them is kept for this product too.
  const bool trained = grads.weight.rows != 0;
  if (p.scale.rows != 0)
    b.run(op::Int8Gemm{.out = dx, .a = dout, .b = p.weight, .scale = p.scale, .transpose_b = true});
  else
    b.run(op::Gemm{.out = dx, .a = dout, .b = p.weight, .transpose_b = !out_in, .weight = trained});
  if (trained)
    b.run(op::Gemm{
        .out = grads.weight, .a = out_in ? dout : x, .b = out_in ? x : dout, .transpose_a = true, .accumulate = true});
  for (size_t i = 0; i < p.adapters.size(); ++i) adapter_backward(pass, p.adapters[i], grads.adapters[i], dx, dout, x);
}

NormActs NormActs::take(const PassContext& pass) {
  NormActs acts = take_statistics(pass);
  acts.out = pass.activation(pass.tokens(), pass.config().channels);
  return acts;
}
NormActs NormActs::take_statistics(const PassContext& pass) {
  NormActs acts;
  if (pass.config().norm == Norm::kLayer) acts.mean = pass.statistic(pass.tokens());
  acts.rstd = pass.statistic(pass.tokens());
  return acts;
}

void norm_forward(const PassContext& pass, const NormParams& p, const NormActs& acts, Tensor x) {
  const float eps = pass.config().norm_eps;
  if (pass.config().norm == Norm::kLayer) {
    pass.backend.run(op::LayerNorm{
        .out = acts.out, .mean = acts.mean, .rstd = acts.rstd, .x = x, .weight = p.weight, .bias = p.bias, .eps = eps});
  } else {
    pass.backend.run(op::RmsNorm{.out = acts.out,
                                 .rstd = acts.rstd,
                                 .x = x,
                                 .weight = p.weight,
                                 .eps = eps,
                                 .offset = pass.config().norm_offset});
  }
}

void norm_backward(const PassContext& pass, const NormParams& p, const NormParams& grads, const NormActs& acts,
                   Tensor dx, Tensor dout, Tensor x) {
  if (pass.config().norm == Norm::kLayer) {
    pass.backend.run(op::LayerNormBackward{.dx = dx,
                                           .dweight = grads.weight,
                                           .dbias = grads.bias,
                                           .dout = dout,
                                           .x = x,
                                           .mean = acts.mean,
                                           .rstd = acts.rstd,
                                           .weight = p.weight});
  } else {
    pass.backend.run(op::RmsNormBackward{.dx = dx,
                                         .dweight = grads.weight,
                                         .dout = dout,
                                         .x = x,
                                         .rstd = acts.rstd,
                                         .weight = p.weight,
                                         .offset = pass.config().norm_offset});
  }
}

namespace {

void activate(const PassContext& pass, Tensor out, Tensor x) {
  Backend& b = pass.backend;
  const Activation activation = pass.config().activation;
  if (pass.config().gated_mlp && activation == Activation::kSilu) return b.run(op::SwiGlu{.out = out, .gate_up = x});
  if (pass.config().gated_mlp) return b.run(op::GeGlu{.out = out, .gate_up = x});
  if (activation == Activation::kRelu) return b.run(op::Relu{.out = out, .x = x});
  b.run(op::Gelu{.out = out, .x = x, .exact = activation == Activation::kGelu});
}
// dx may be dout if the MLP is not gated.
void activate_backward(const PassContext& pass, Tensor dx, Tensor dout, Tensor x) {
  Backend& b = pass.backend;
  const Activation activation = pass.config().activation;
  if (pass.config().gated_mlp && activation == Activation::kSilu)
    return b.run(op::SwiGluBackward{.dgate_up = dx, .dout = dout, .gate_up = x});
  if (pass.config().gated_mlp) return b.run(op::GeGluBackward{.dgate_up = dx, .dout = dout, .gate_up = x});
  if (activation == Activation::kRelu) return b.run(op::ReluBackward{.dx = dx, .dout = dout, .x = x});
  b.run(op::GeluBackward{.dx = dx, .dout = dout, .x = x, .exact = activation == Activation::kGelu});
}

uint32_t mlp_site(int64_t layer) {
  return uint32_t(2 * layer + 1);
}

}  // namespace

BranchActs BranchActs::take(const PassContext& pass) {
  if (!pass.config().post_norm) return {};
  return {pass.activation(pass.tokens(), pass.config().channels), NormActs::take_statistics(pass)};
}

void branch_forward(const PassContext& pass, const BranchParams& p, const BranchActs& acts, uint32_t site, Tensor out,
                    Tensor x, Tensor residual) {
  const bool post_norm = pass.config().post_norm, only_acts = out.rows == 0;
  if (!post_norm && only_acts) return;
  if (!post_norm && pass.dropout.rate == 0) return linear_forward(pass, p.linear, out, x, residual);
  const Arena::Scope scope(pass.arena);
  linear_forward(pass, p.linear, post_norm ? acts.linear : out, x);
  if (post_norm) {
    NormActs norm = acts.norm;
    norm.out = only_acts ? pass.activation(x.rows, pass.config().channels) : out;
    norm_forward(pass, p.norm, norm, acts.linear);
  }
  if (only_acts) return;
  if (pass.dropout.rate > 0) dropout(pass, pass.dropout.rate, site, out, out);
  pass.backend.run(op::Add{.out = out, .a = out, .b = residual});
}

void branch_backward(const PassContext& pass, const BranchParams& p, const BranchParams& grads, const BranchActs& acts,
                     uint32_t site, Tensor dx, Tensor dout, Tensor x) {
  const Arena::Scope scope(pass.arena);
  if (pass.dropout.rate > 0) {
    const Tensor kept = pass.activation(dout.rows, dout.cols);
    dropout(pass, pass.dropout.rate, site, kept, dout);
    dout = kept;
  }
  if (pass.config().post_norm) {
    const Tensor d_linear = pass.activation(dout.rows, dout.cols);
    pass.backend.zero(d_linear);
    norm_backward(pass, p.norm, grads.norm, acts.norm, d_linear, dout, acts.linear);
    dout = d_linear;
  }
  linear_backward(pass, p.linear, grads.linear, dx, dout, x);
}

MlpActs MlpActs::take(const PassContext& pass) {
  const int64_t N = pass.tokens();
  return {pass.activation(N, pass.config().up_cols()), pass.activation(N, pass.config().mlp_channels),
          BranchActs::take(pass)};
}

void mlp_forward(const PassContext& pass, const MlpParams& p, const MlpActs& acts, int64_t layer, Tensor out, Tensor x,
                 Tensor residual) {
  linear_forward(pass, p.up, acts.up, x);
  activate(pass, acts.act, acts.up);
  branch_forward(pass, {p.down, p.post_norm}, acts.branch, mlp_site(layer), out, acts.act, residual);
}

void mlp_backward(const PassContext& pass, const MlpParams& p, const MlpParams& grads, const MlpActs& acts,
                  int64_t layer, Tensor dx, Tensor dout, Tensor x) {
  const Arena::Scope scope(pass.arena);
  const ModelConfig& c = pass.config();
  const Tensor d_act = pass.activation(x.rows, c.mlp_channels);
  branch_backward(pass, {p.down, p.post_norm}, {grads.down, grads.post_norm}, acts.branch, mlp_site(layer), d_act, dout,
                  acts.act);
  const Tensor d_up = c.gated_mlp ? pass.activation(x.rows, c.up_cols()) : d_act;
  activate_backward(pass, d_up, d_act, acts.up);
  linear_backward(pass, p.up, grads.up, dx, d_up, x);
}

}  // namespace heed
