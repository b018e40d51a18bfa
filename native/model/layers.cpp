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
  const Tensor hidden = low_rank(pass, adapter, adapter_input(pass, adapter, x));
  const Tensor term = pass.activation(x.rows, adapter.b.rows);
  pass.backend.run(op::Gemm{.out = term, .a = hidden, .b = adapter.b, .transpose_b = true, .weight = true});
  pass.backend.run(op::AddColumns{.out = out, .x = term, .first = adapter.first, .scale = adapter.scale});
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
  // Frozen weights are large beside everything else: no packed copy of them is kept for this product too.
  const bool trained = grads.weight.rows != 0;
  b.run(op::Gemm{.out = dx, .a = dout, .b = p.weight, .transpose_b = !out_in, .weight = trained});
  if (trained)
    b.run(op::Gemm{
        .out = grads.weight, .a = out_in ? dout : x, .b = out_in ? x : dout, .transpose_a = true, .accumulate = true});
  if (grads.bias.rows != 0) b.run(op::BiasBackward{.dbias = grads.bias, .dout = dout});
  for (size_t i = 0; i < p.adapters.size(); ++i) adapter_backward(pass, p.adapters[i], grads.adapters[i], dx, dout, x);
}

NormActs NormActs::take(const PassContext& pass) {
  NormActs acts;
  acts.out = pass.activation(pass.tokens(), pass.config().channels);
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
    pass.backend.run(op::RmsNorm{.out = acts.out, .rstd = acts.rstd, .x = x, .weight = p.weight, .eps = eps});
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
    pass.backend.run(op::RmsNormBackward{
        .dx = dx, .dweight = grads.weight, .dout = dout, .x = x, .rstd = acts.rstd, .weight = p.weight});
  }
}

namespace {

bool exact_gelu(const PassContext& pass) {
  return pass.config().activation == Activation::kGelu;
}

uint32_t mlp_site(int64_t layer) {
  return uint32_t(2 * layer + 1);
}

}  // namespace

void branch_forward(const PassContext& pass, const LinearParams& p, uint32_t site, Tensor out, Tensor x,
                    Tensor residual) {
  if (pass.dropout.rate == 0) return linear_forward(pass, p, out, x, residual);
  linear_forward(pass, p, out, x);
  dropout(pass, pass.dropout.rate, site, out, out);
  pass.backend.run(op::Add{.out = out, .a = out, .b = residual});
}

Tensor branch_gradient(const PassContext& pass, uint32_t site, Tensor dout) {
  if (pass.dropout.rate == 0) return dout;
  const Tensor d = pass.activation(dout.rows, dout.cols);
  dropout(pass, pass.dropout.rate, site, d, dout);
  return d;
}

MlpActs MlpActs::take(const PassContext& pass) {
  const int64_t N = pass.tokens();
  return {pass.activation(N, pass.config().up_cols()), pass.activation(N, pass.config().mlp_channels)};
}

void mlp_forward(const PassContext& pass, const MlpParams& p, const MlpActs& acts, int64_t layer, Tensor out, Tensor x,
                 Tensor residual) {
  linear_forward(pass, p.up, acts.up, x);
  if (pass.config().gated_mlp) {
    pass.backend.run(op::SwiGlu{.out = acts.act, .gate_up = acts.up});
  } else {
    pass.backend.run(op::Gelu{.out = acts.act, .x = acts.up, .exact = exact_gelu(pass)});
  }
  if (out.rows != 0) branch_forward(pass, p.down, mlp_site(layer), out, acts.act, residual);
}

void mlp_backward(const PassContext& pass, const MlpParams& p, const MlpParams& grads, const MlpActs& acts,
                  int64_t layer, Tensor dx, Tensor dout, Tensor x) {
  const Arena::Scope scope(pass.arena);
  const ModelConfig& c = pass.config();
  const Tensor d_down = branch_gradient(pass, mlp_site(layer), dout);
  const Tensor d_act = pass.activation(x.rows, c.mlp_channels);
  linear_backward(pass, p.down, grads.down, d_act, d_down, acts.act);
  const Tensor d_up = c.gated_mlp ? pass.activation(x.rows, c.up_cols()) : d_act;
  if (c.gated_mlp) {
    pass.backend.run(op::SwiGluBackward{.dgate_up = d_up, .dout = d_act, .gate_up = acts.up});
  } else {
    pass.backend.run(op::GeluBackward{.dx = d_up, .dout = d_act, .x = acts.up, .exact = exact_gelu(pass)});
  }
  linear_backward(pass, p.up, grads.up, dx, d_up, x);
}

}  // namespace heed
