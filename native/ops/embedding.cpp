#include "native/ops/embedding.h"

#include "native/ops/check.h"

namespace heed::op {

void Embedding::check() const {
  const DType dtype = require_matrix("wte", wte);
  require_ints("tokens", tokens, tokens.rows);
  require_ints("positions", positions, tokens.rows);
  require_shape("out", out, tokens.rows, wte.cols, dtype);
  require_optional("wpe", wpe, wpe.rows, wte.cols, dtype);
}

void EmbeddingBackward::check() const {
  require_matrix("dwte", dwte, DType::f32);
  require_ints("tokens", tokens, tokens.rows);
  require_ints("positions", positions, tokens.rows);
  require_shape("dout", dout, tokens.rows, dwte.cols, require_float("dout", dout));
  require_optional("dwpe", dwpe, dwpe.rows, dwte.cols);
}

void Rope::check() const {
  require_heads(num_heads, num_kv_heads);
  require_matrix("qkv", qkv);
  const int64_t dim = head_dim("qkv", qkv, num_heads + 2 * num_kv_heads);
  require(cos.cols > 0 && 2 * cos.cols <= dim, "cos has ", cos.cols, " columns, expected 1 to half of a head's ", dim,
          " channels");
  require_ints("positions", positions, qkv.rows);
  require_shape("cos", cos, cos.rows, cos.cols);
  require_shape("sin", sin, cos.rows, cos.cols);
}

}  // namespace heed::op
