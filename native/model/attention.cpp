#include "native/model/attention.h"

#include "native/model/cache.h"

namespace heed {
namespace {

void rotate(const PassContext& pass, int64_t layer, Tensor qkv, bool inverse) {
  const ModelConfig& c = pass.config();
  const Rotations* rotations = pass.model.rotations(layer);
  if (rotations == nullptr) return;
  pass.backend.run(op::Rope{.qkv = qkv,
                            .positions = pass.batch.positions,
                            .cos = rotations->cos,
                            .sin = rotations->sin,
                            .num_heads = c.num_heads,
                            .num_kv_heads = c.num_kv_heads,
                            .inverse = inverse});
}

void write_cache(const PassContext& pass, int64_t layer, Tensor qkv) {
  const ModelConfig& c = pass.config();
  const KvCache& cache = *pass.batch.cache;
  pass.backend.run(op::CacheWrite{.keys = cache.keys(layer),
                                  .values = cache.values(layer),
                                  .qkv = qkv,
                                  .slots = pass.batch.slots,
                                  .positions = pass.batch.positions,
                                  .num_heads = c.num_heads,
                                  .num_kv_heads = c.num_kv_heads});
}

void attend_to_cache(const PassContext& pass, int64_t layer, const AttentionActs& acts) {
  const ModelConfig& c = pass.config();
  const KvCache& cache = *pass.batch.cache;
  pass.backend.run(op::AttentionDecode{.out = acts.out,
                                       .qkv = acts.qkv,
                                       .keys = cache.keys(layer),
                                       .values = cache.values(layer),
                                       .slots = pass.batch.slots,
                                       .positions = pass.batch.positions,
                                       .num_heads = c.num_heads,
                                       .num_kv_heads = c.num_kv_heads,
                                       .window = c.window(layer),
                                       .distinct_slots = pass.batch.distinct_slots,
                                       .scale = c.attention_scale,
                                       .softcap = c.attention_softcap});
}

void attend_to_batch(const PassContext& pass, int64_t layer, const AttentionActs& acts) {
  const ModelConfig& c = pass.config();
  pass.backend.run(op::Attention{.out = acts.out,
                                 .lse = acts.lse,
                                 .qkv = acts.qkv,
                                 .cu_seqlens = pass.batch.cu_seqlens,
                                 .parent = pass.batch.parent,
                                 .num_heads = c.num_heads,
                                 .num_kv_heads = c.num_kv_heads,
                                 .max_path = pass.batch.max_path,
                                 .window = c.window(layer),
                                 .scale = c.attention_scale,
                                 .softcap = c.attention_softcap});
}

void project(const PassContext& pass, const AttentionParams& p, const AttentionActs& acts, Tensor x) {
  const ModelConfig& c = pass.config();
  if (c.qk_norm == QkNormOf::kNothing) return linear_forward(pass, p.qkv, acts.qkv, x);
  linear_forward(pass, p.qkv, acts.projected, x);
  pass.backend.run(op::QkNorm{.out = acts.qkv,
                              .rstd = acts.rstd,
                              .qkv = acts.projected,
                              .q_weight = p.q_norm,
                              .k_weight = p.k_norm,
                              .num_heads = c.num_heads,
                              .num_kv_heads = c.num_kv_heads,
                              .eps = c.norm_eps,
                              .offset = c.norm_offset});
}

void project_backward(const PassContext& pass, const AttentionParams& p, const AttentionParams& grads,
                      const AttentionActs& acts, Tensor dx, Tensor d_qkv, Tensor x) {
  const ModelConfig& c = pass.config();
  if (c.qk_norm != QkNormOf::kNothing)
    pass.backend.run(op::QkNormBackward{.dqkv = d_qkv,
                                        .dq_weight = grads.q_norm,
                                        .dk_weight = grads.k_norm,
                                        .qkv = acts.projected,
                                        .rstd = acts.rstd,
                                        .q_weight = p.q_norm,
                                        .k_weight = p.k_norm,
                                        .num_heads = c.num_heads,
                                        .num_kv_heads = c.num_kv_heads,
                                        .offset = c.norm_offset});
  linear_backward(pass, p.qkv, grads.qkv, dx, d_qkv, x);
}

uint32_t attention_site(int64_t layer) {
  return uint32_t(2 * layer);
}

}  // namespace

AttentionActs AttentionActs::take(const PassContext& pass) {
  const ModelConfig& c = pass.config();
  const int64_t N = pass.tokens();
  AttentionActs acts;
  if (c.qk_norm != QkNormOf::kNothing) {
    acts.projected = pass.activation(N, c.qkv_cols());
    acts.rstd = pass.statistic(N, c.qk_norm == QkNormOf::kHead ? c.num_heads + c.num_kv_heads : 2);
  }
  acts.qkv = pass.activation(N, c.qkv_cols());
  acts.out = pass.activation(N, c.attention_cols());
  acts.lse = pass.statistic(N, c.num_heads);
  acts.branch = BranchActs::take(pass);
  return acts;
}

void attention_forward(const PassContext& pass, const AttentionParams& p, const AttentionActs& acts, int64_t layer,
                       Tensor out, Tensor x, Tensor residual) {
  project(pass, p, acts, x);
  rotate(pass, layer, acts.qkv, false);
  if (pass.batch.cache != nullptr) write_cache(pass, layer, acts.qkv);
  if (pass.batch.decode) {
    attend_to_cache(pass, layer, acts);
  } else {
    attend_to_batch(pass, layer, acts);
  }
  branch_forward(pass, {p.out, p.post_norm}, acts.branch, attention_site(layer), out, acts.out, residual);
}

void attention_backward(const PassContext& pass, const AttentionParams& p, const AttentionParams& grads,
                        const AttentionActs& acts, int64_t layer, Tensor dx, Tensor dout, Tensor x) {
  const Arena::Scope scope(pass.arena);
  const ModelConfig& c = pass.config();
  const Tensor d_out = pass.activation(x.rows, c.attention_cols()), d_qkv = pass.activation(x.rows, c.qkv_cols());
  branch_backward(pass, {p.out, p.post_norm}, {grads.out, grads.post_norm}, acts.branch, attention_site(layer), d_out,
                  dout, acts.out);
  pass.backend.run(op::AttentionBackward{.dqkv = d_qkv,
                                         .dout = d_out,
                                         .out = acts.out,
                                         .lse = acts.lse,
                                         .qkv = acts.qkv,
                                         .cu_seqlens = pass.batch.cu_seqlens,
                                         .parent = pass.batch.parent,
                                         .num_heads = c.num_heads,
                                         .num_kv_heads = c.num_kv_heads,
                                         .max_path = pass.batch.max_path,
                                         .window = c.window(layer),
                                         .scale = c.attention_scale,
                                         .softcap = c.attention_softcap});
  rotate(pass, layer, d_qkv, true);
  project_backward(pass, p, grads, acts, dx, d_qkv, x);
}

}  // namespace heed
