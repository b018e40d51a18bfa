#include "native/model/attention.h"

#include "native/model/cache.h"

namespace heed {
namespace {

void rotate(const PassContext& pass, Tensor qkv, bool inverse) {
  const ModelConfig& c = pass.config();
  if (!c.rotary()) return;
  pass.backend.run(op::Rope{.qkv = qkv,
                            .positions = pass.batch.positions,
                            .cos = pass.model.rope_cos(),
                            .sin = pass.model.rope_sin(),
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
                                       .distinct_slots = pass.batch.distinct_slots});
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
                                 .window = c.window(layer)});
}

uint32_t attention_site(int64_t layer) {
  return uint32_t(2 * layer);
}

}  // namespace

AttentionActs AttentionActs::take(const PassContext& pass) {
  const ModelConfig& c = pass.config();
  const int64_t N = pass.tokens();
  return {pass.activation(N, c.qkv_cols()), pass.activation(N, c.attention_cols()), pass.statistic(N, c.num_heads)};
}

void attention_forward(const PassContext& pass, const AttentionParams& p, const AttentionActs& acts, int64_t layer,
                       Tensor out, Tensor x, Tensor residual) {
  linear_forward(pass, p.qkv, acts.qkv, x);
  rotate(pass, acts.qkv, false);
  if (pass.batch.cache != nullptr) write_cache(pass, layer, acts.qkv);
  if (pass.batch.decode) {
    attend_to_cache(pass, layer, acts);
  } else {
    attend_to_batch(pass, layer, acts);
  }
  branch_forward(pass, p.out, attention_site(layer), out, acts.out, residual);
}

void attention_backward(const PassContext& pass, const AttentionParams& p, const AttentionParams& grads,
                        const AttentionActs& acts, int64_t layer, Tensor dx, Tensor dout, Tensor x) {
  const Arena::Scope scope(pass.arena);
  const ModelConfig& c = pass.config();
  const Tensor d_branch = branch_gradient(pass, attention_site(layer), dout);
  const Tensor d_out = pass.activation(x.rows, c.attention_cols()), d_qkv = pass.activation(x.rows, c.qkv_cols());
  linear_backward(pass, p.out, grads.out, d_out, d_branch, acts.out);
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
                                         .window = c.window(layer)});
  rotate(pass, d_qkv, true);
  linear_backward(pass, p.qkv, grads.qkv, dx, d_qkv, x);
}

}  // namespace heed
