#include "native/model/block.h"

#include "native/model/cache.h"

namespace heed {

BlockActs BlockActs::take(Arena& arena, const ModelConfig& c, int64_t N) {
  const bool gpt2 = c.architecture == Architecture::kGpt2;
  const auto f32 = [&](int64_t cols) { return arena.take(DType::f32, N, cols); };
  BlockActs a;
  a.norm1 = f32(c.channels);
  a.norm1_rstd = f32(1);
  a.qkv = f32(c.qkv_cols());
  a.att = f32(c.attention_cols());
  a.att_lse = f32(c.num_heads);
  a.mid = f32(c.channels);
  a.norm2 = f32(c.channels);
  a.norm2_rstd = f32(1);
  a.up = f32(gpt2 ? c.mlp_channels : 2 * c.mlp_channels);
  a.act = f32(c.mlp_channels);
  if (gpt2) {
    a.norm1_mean = f32(1);
    a.norm2_mean = f32(1);
  }
  return a;
}

namespace {

// GPT-2 keeps weights (in, out), Llama (out, in).
bool out_by_in(const ModelConfig& c) {
  return c.architecture == Architecture::kLlama;
}

void attend(Backend& b, const ModelConfig& c, const BlockActs& a, const Batch& batch, int64_t layer) {
  if (batch.cache != nullptr) {
    b.run(op::CacheWrite{.keys = batch.cache->keys(layer),
                         .values = batch.cache->values(layer),
                         .qkv = a.qkv,
                         .slots = batch.slots,
                         .positions = batch.positions,
                         .num_heads = c.num_heads,
                         .num_kv_heads = c.num_kv_heads});
  }
  if (batch.decode) {
    b.run(op::AttentionDecode{.out = a.att,
                              .qkv = a.qkv,
                              .keys = batch.cache->keys(layer),
                              .values = batch.cache->values(layer),
                              .slots = batch.slots,
                              .positions = batch.positions,
                              .num_heads = c.num_heads,
                              .num_kv_heads = c.num_kv_heads});
  } else {
    b.run(op::Attention{.out = a.att,
                        .lse = a.att_lse,
                        .qkv = a.qkv,
                        .cu_seqlens = batch.cu_seqlens,
                        .parent = batch.parent,
                        .num_heads = c.num_heads,
                        .num_kv_heads = c.num_kv_heads,
                        .max_path = batch.max_path});
  }
}

// out = residual + dropout(x·w + bias), site: which of the model's dropouts
void project(Backend& b, const ModelConfig& c, Tensor out, Tensor x, Tensor w, Tensor bias, Tensor residual,
             const DropoutKey& dropout, uint32_t site, const Batch& batch) {
  if (dropout.rate == 0) {
    b.run(op::Gemm{
        .out = out, .a = x, .b = w, .bias = bias, .residual = residual, .transpose_b = out_by_in(c), .weight = true});
    return;
  }
  b.run(op::Gemm{.out = out, .a = x, .b = w, .bias = bias, .transpose_b = out_by_in(c), .weight = true});
  b.run(op::Dropout{
      .out = out, .x = out, .rate = dropout.rate, .seed = dropout.seed, .site = site, .first_row = batch.first_token});
  b.run(op::Add{.out = out, .a = out, .b = residual});
}

// out = x·w + bias:  dx = dout·wᵀ,  dw += xᵀ·dout,  dbias += Σ dout
void linear_backward(Backend& b, const ModelConfig& c, Tensor dx, Tensor dw, Tensor dbias, Tensor dout, Tensor x,
                     Tensor w) {
  b.run(op::Gemm{.out = dx, .a = dout, .b = w, .transpose_b = !out_by_in(c), .weight = true});
  if (out_by_in(c)) {
    b.run(op::Gemm{.out = dw, .a = dout, .b = x, .transpose_a = true, .accumulate = true});
  } else {
    b.run(op::Gemm{.out = dw, .a = x, .b = dout, .transpose_a = true, .accumulate = true});
    b.run(op::BiasBackward{.dbias = dbias, .dout = dout});
  }
}

// The gradient that enters a residual branch: d out through the branch's dropout.
Tensor branch_gradient(Backend& b, Arena& arena, Tensor dx, const DropoutKey& dropout, uint32_t site,
                       const Batch& batch) {
  if (dropout.rate == 0) return dx;
  const Tensor d = arena.take(DType::f32, dx.rows, dx.cols);
  b.run(op::Dropout{
      .out = d, .x = dx, .rate = dropout.rate, .seed = dropout.seed, .site = site, .first_row = batch.first_token});
  return d;
}

}  // namespace

void block_forward(Backend& b, Arena&, const ModelConfig& c, const BlockParams& p, const BlockActs& a,
                   const Batch& batch, const Tensor& rope_cos, const Tensor& rope_sin, const DropoutKey& dropout,
                   int64_t layer, Tensor x, Tensor out) {
  const uint32_t site = uint32_t(2 * layer);
  if (c.architecture == Architecture::kGpt2) {
    b.run(op::LayerNorm{.out = a.norm1,
                        .mean = a.norm1_mean,
                        .rstd = a.norm1_rstd,
                        .x = x,
                        .weight = p.norm1_weight,
                        .bias = p.norm1_bias,
                        .eps = c.norm_eps});
    b.run(op::Gemm{.out = a.qkv, .a = a.norm1, .b = p.qkv_weight, .bias = p.qkv_bias, .weight = true});
    attend(b, c, a, batch, layer);
    project(b, c, a.mid, a.att, p.proj_weight, p.proj_bias, x, dropout, site, batch);

    b.run(op::LayerNorm{.out = a.norm2,
                        .mean = a.norm2_mean,
                        .rstd = a.norm2_rstd,
                        .x = a.mid,
                        .weight = p.norm2_weight,
                        .bias = p.norm2_bias,
                        .eps = c.norm_eps});
    b.run(op::Gemm{.out = a.up, .a = a.norm2, .b = p.up_weight, .bias = p.up_bias, .weight = true});
    b.run(op::Gelu{.out = a.act, .x = a.up});
    project(b, c, out, a.act, p.down_weight, p.down_bias, a.mid, dropout, site + 1, batch);
  } else {
    b.run(op::RmsNorm{.out = a.norm1, .rstd = a.norm1_rstd, .x = x, .weight = p.norm1_weight, .eps = c.norm_eps});
    b.run(op::Gemm{.out = a.qkv, .a = a.norm1, .b = p.qkv_weight, .transpose_b = true, .weight = true});
    b.run(op::Rope{.qkv = a.qkv,
                   .positions = batch.positions,
                   .cos = rope_cos,
                   .sin = rope_sin,
                   .num_heads = c.num_heads,
                   .num_kv_heads = c.num_kv_heads});
    attend(b, c, a, batch, layer);
    project(b, c, a.mid, a.att, p.proj_weight, {}, x, dropout, site, batch);

    b.run(op::RmsNorm{.out = a.norm2, .rstd = a.norm2_rstd, .x = a.mid, .weight = p.norm2_weight, .eps = c.norm_eps});
    b.run(op::Gemm{.out = a.up, .a = a.norm2, .b = p.up_weight, .transpose_b = true, .weight = true});
    b.run(op::SwiGlu{.out = a.act, .gate_up = a.up});
    project(b, c, out, a.act, p.down_weight, {}, a.mid, dropout, site + 1, batch);
  }
}

// Read from the bottom of block_forward upwards. The residual adds cost nothing: their gradient is dx itself, into
// which the backward pass of the norm adds.
void block_backward(Backend& b, Arena& arena, const ModelConfig& c, const BlockParams& p, const BlockParams& dp,
                    const BlockActs& a, const Batch& batch, const Tensor& rope_cos, const Tensor& rope_sin,
                    const DropoutKey& dropout, int64_t layer, Tensor x, Tensor dx) {
  const bool gpt2 = c.architecture == Architecture::kGpt2;
  const uint32_t site = uint32_t(2 * layer);
  const Arena::Scope scope(arena);
  const int64_t N = x.rows;
  const Tensor d_c = arena.take(DType::f32, N, c.channels);
  {
    const Arena::Scope mlp(arena);
    const Tensor d_out = branch_gradient(b, arena, dx, dropout, site + 1, batch);
    const Tensor d_act = arena.take(DType::f32, N, c.mlp_channels);
    const Tensor d_up = gpt2 ? d_act : arena.take(DType::f32, N, 2 * c.mlp_channels);
    linear_backward(b, c, d_act, dp.down_weight, dp.down_bias, d_out, a.act, p.down_weight);
    if (gpt2) {
      b.run(op::GeluBackward{.dx = d_up, .dout = d_act, .x = a.up});
    } else {
      b.run(op::SwiGluBackward{.dgate_up = d_up, .dout = d_act, .gate_up = a.up});
    }
    linear_backward(b, c, d_c, dp.up_weight, dp.up_bias, d_up, a.norm2, p.up_weight);
  }
  if (gpt2) {
    b.run(op::LayerNormBackward{.dx = dx,
                                .dweight = dp.norm2_weight,
                                .dbias = dp.norm2_bias,
                                .dout = d_c,
                                .x = a.mid,
                                .mean = a.norm2_mean,
                                .rstd = a.norm2_rstd,
                                .weight = p.norm2_weight});
  } else {
    b.run(op::RmsNormBackward{
        .dx = dx, .dweight = dp.norm2_weight, .dout = d_c, .x = a.mid, .rstd = a.norm2_rstd, .weight = p.norm2_weight});
  }

  const Tensor d_mid = branch_gradient(b, arena, dx, dropout, site, batch);
  const Tensor d_att = arena.take(DType::f32, N, c.attention_cols()), d_qkv = arena.take(DType::f32, N, c.qkv_cols());
  linear_backward(b, c, d_att, dp.proj_weight, dp.proj_bias, d_mid, a.att, p.proj_weight);
  b.run(op::AttentionBackward{.dqkv = d_qkv,
                              .dout = d_att,
                              .out = a.att,
                              .lse = a.att_lse,
                              .qkv = a.qkv,
                              .cu_seqlens = batch.cu_seqlens,
                              .parent = batch.parent,
                              .num_heads = c.num_heads,
                              .num_kv_heads = c.num_kv_heads,
                              .max_path = batch.max_path});
  if (!gpt2) {
    b.run(op::Rope{.qkv = d_qkv,
                   .positions = batch.positions,
                   .cos = rope_cos,
                   .sin = rope_sin,
                   .num_heads = c.num_heads,
                   .num_kv_heads = c.num_kv_heads,
                   .inverse = true});
  }
  linear_backward(b, c, d_c, dp.qkv_weight, dp.qkv_bias, d_qkv, a.norm1, p.qkv_weight);
  if (gpt2) {
    b.run(op::LayerNormBackward{.dx = dx,
                                .dweight = dp.norm1_weight,
                                .dbias = dp.norm1_bias,
                                .dout = d_c,
                                .x = x,
                                .mean = a.norm1_mean,
                                .rstd = a.norm1_rstd,
                                .weight = p.norm1_weight});
  } else {
    b.run(op::RmsNormBackward{
        .dx = dx, .dweight = dp.norm1_weight, .dout = d_c, .x = x, .rstd = a.norm1_rstd, .weight = p.norm1_weight});
  }
}

}  // namespace heed
