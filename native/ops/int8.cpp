#include "native/ops/int8.h"

#include "native/ops/check.h"

namespace heed::op {

void Int8Gemm::check() const {
  const DType dtype = require_matrix("out", out);
  const int64_t m = out.rows, n = out.cols, k = a.cols;
  require_shape("a", a, m, k, dtype);
  require_shape("b", b, transpose_b ? n : k, transpose_b ? k : n, DType::i8);
  require_shape("scale", scale, 1, b.cols);
  require_optional("bias", bias, 1, n, dtype);
  require_optional("residual", residual, m, n, dtype);
  require_apart("out", out, "a", a);
}

}  // namespace heed::op
