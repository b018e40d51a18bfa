#include "native/ops/norm.h"

#include "native/ops/check.h"

namespace heed::op {

void LayerNorm::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require_shape("mean", mean, x.rows);
  require_shape("rstd", rstd, x.rows);
  require_shape("weight", weight, 1, x.cols, dtype);
  require_shape("bias", bias, 1, x.cols, dtype);
  require_positive("eps", eps);
}

void LayerNormBackward::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("dx", dx, x.rows, x.cols, dtype);
  require_optional("dweight", dweight, 1, x.cols);
  if (given(dweight) || given(dbias)) require_shape("dbias", dbias, given(dweight) ? 1 : 0, x.cols);
  require_shape("dout", dout, x.rows, x.cols, dtype);
  require_shape("mean", mean, x.rows);
  require_shape("rstd", rstd, x.rows);
  require_shape("weight", weight, 1, x.cols, dtype);
}

void RmsNorm::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require_shape("rstd", rstd, x.rows);
  require_shape("weight", weight, 1, x.cols, dtype);
  require_positive("eps", eps);
  require_finite("offset", offset);
}

void RmsNormBackward::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("dx", dx, x.rows, x.cols, dtype);
  require_optional("dweight", dweight, 1, x.cols);
  require_shape("dout", dout, x.rows, x.cols, dtype);
  require_shape("rstd", rstd, x.rows);
  require_shape("weight", weight, 1, x.cols, dtype);
}

namespace {

void require_qk_norm(const Tensor& qkv, const Tensor& rstd, const Tensor& q_weight, const Tensor& k_weight,
                     int64_t num_heads, int64_t num_kv_heads, float offset) {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("qkv", qkv);
  const int64_t dim = head_dim("qkv", qkv, num_heads + 2 * num_kv_heads);
  const bool together = q_weight.cols == num_heads * dim && q_weight.cols != dim;
  require_shape("q_weight", q_weight, 1, together ? num_heads * dim : dim, dtype);
  // One head alone is both each head and all heads.
  require_shape("k_weight", k_weight, 1, together ? num_kv_heads * dim : dim, dtype);
  require_shape("rstd", rstd, qkv.rows, together ? 2 : num_heads + num_kv_heads);
  require_finite("offset", offset);
}

}  // namespace

void QkNorm::check() const {
  require_qk_norm(qkv, rstd, q_weight, k_weight, num_heads, num_kv_heads, offset);
  require_shape("out", out, qkv.rows, qkv.cols, qkv.dtype);
  require_apart("out", out, "qkv", qkv);
  require_positive("eps", eps);
}

void QkNormBackward::check() const {
  require_qk_norm(qkv, rstd, q_weight, k_weight, num_heads, num_kv_heads, offset);
  require_shape("dqkv", dqkv, qkv.rows, qkv.cols, qkv.dtype);
  require_apart("dqkv", dqkv, "qkv", qkv);
  require_optional("dq_weight", dq_weight, 1, q_weight.cols);
  require_optional("dk_weight", dk_weight, 1, k_weight.cols);
  require(given(dq_weight) == given(dk_weight), "of dq_weight and dk_weight one is given, expected both or none");
}

}  // namespace heed::op
