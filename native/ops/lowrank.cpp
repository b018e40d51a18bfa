#include "native/ops/lowrank.h"

#include "native/ops/check.h"

namespace heed::op {

void AddColumns::check() const {
  const DType dtype = require_matrix("out", out);
  require_shape("x", x, out.rows, x.cols, dtype);
  require_part("x", x, first, "out", out);
  require_apart("out", out, "x", x);
  require_finite("scale", scale);
}

void TakeColumns::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, out.cols, dtype);
  require_part("out", out, first, "x", x);
  require_apart("out", out, "x", x);
  require_finite("scale", scale);
}

}  // namespace heed::op
