#include "native/ops/rows.h"

#include "native/ops/check.h"

namespace heed::op {

void GatherRows::check() const {
  const DType dtype = require_matrix("x", x);
  require_ints("rows", rows, rows.rows);
  require_shape("out", out, rows.rows, x.cols, dtype);
  require_apart("out", out, "x", x);
}

void ScatterRowsAdd::check() const {
  const DType dtype = require_matrix("dx", dx);
  require_ints("rows", rows, rows.rows);
  require_shape("dout", dout, rows.rows, dx.cols, dtype);
  require_apart("dx", dx, "dout", dout);
}

void Convert::check() const {
  require_float("out", out);
  require_shape("x", x, out.rows, out.cols, require_float("x", x));
  require(out.dtype == x.dtype || out.data == nullptr || out.data != x.data, "out must not be x");
}

}  // namespace heed::op
