#include "native/ops/gemm.h"

#include "native/ops/check.h"

namespace heed::op {

void Gemm::check() const {
  require_matrix("out", out);
  const int64_t m = out.rows, n = out.cols, k = transpose_a ? a.rows : a.cols;
  const DType dtype = require_float("a", a);
  require_shape("a", a, transpose_a ? k : m, transpose_a ? m : k, dtype);
  require_shape("b", b, transpose_b ? n : k, transpose_b ? k : n, dtype);
  require(out.dtype == dtype || out.dtype == DType::f32, "out is bf16, expected f32, as a and b are");
  require_optional("bias", bias, 1, n, out.dtype);
  require_optional("residual", residual, m, n, out.dtype);
  require(!accumulate || (!given(bias) && !given(residual)), "accumulate excludes bias and residual");
  require_apart("out", out, "a", a);
  require_apart("out", out, "b", b);
}

void BiasBackward::check() const {
  require_matrix("dout", dout);
  require_shape("dbias", dbias, 1, dout.cols);
}

}  // namespace heed::op
