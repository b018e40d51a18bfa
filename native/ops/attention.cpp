#include "native/ops/attention.h"

#include "native/ops/check.h"

namespace heed::op {

void Attention::check() const {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("out", out);
  const int64_t dim = head_dim("out", out, num_heads);
  require_shape("lse", lse, out.rows, num_heads);
  require_shape("qkv", qkv, out.rows, (num_heads + 2 * num_kv_heads) * dim, dtype);
  require_segments(cu_seqlens, parent, out.rows, max_path);
  require_window(window);
  require_scores(scale, softcap);
}

void AttentionBackward::check() const {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("out", out);
  const int64_t dim = head_dim("out", out, num_heads);
  require_shape("dout", dout, out.rows, out.cols, dtype);
  require_shape("lse", lse, out.rows, num_heads);
  require_shape("qkv", qkv, out.rows, (num_heads + 2 * num_kv_heads) * dim, dtype);
  require_shape("dqkv", dqkv, out.rows, qkv.cols, dtype);
  require_apart("dqkv", dqkv, "qkv", qkv);
  require_segments(cu_seqlens, parent, out.rows, max_path);
  require_window(window);
  require_scores(scale, softcap);
}

void CacheWrite::check() const {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("qkv", qkv);
  require_dtype("keys", keys, dtype);
  require_cache(keys, values, num_kv_heads, head_dim("qkv", qkv, num_heads + 2 * num_kv_heads));
  require_ints("slots", slots, qkv.rows);
  require_ints("positions", positions, qkv.rows);
}

void CacheCopy::check() const {
  require(num_kv_heads > 0, "num_kv_heads must be positive, got ", num_kv_heads);
  require(head_dim > 0, "head_dim must be positive, got ", head_dim);
  require_cache(keys, values, num_kv_heads, head_dim);
  require_ints("from", from, from.rows);
  require_ints("to", to, from.rows);
  require_ints("lengths", lengths, from.rows);
}

void AttentionDecode::check() const {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("out", out);
  const int64_t dim = head_dim("out", out, num_heads);
  require_shape("qkv", qkv, out.rows, (num_heads + 2 * num_kv_heads) * dim, dtype);
  require_dtype("keys", keys, dtype);
  require_cache(keys, values, num_kv_heads, dim);
  require_ints("slots", slots, out.rows);
  require_ints("positions", positions, out.rows);
  require_window(window);
  require_scores(scale, softcap);
}

}  // namespace heed::op
