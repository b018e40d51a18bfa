#include "native/ops/optimizer.h"

#include "native/ops/check.h"

namespace heed::op {

void SquaredNorm::check() const {
  require_dtype("x", x, DType::f32);
  require_shape("sum", sum, 1, 1, DType::f64);
}

void AdamW::check() const {
  require_matrix("weight", weight, DType::f32);
  require_shape("m", m, weight.rows, weight.cols);
  require_shape("v", v, weight.rows, weight.cols);
  require_shape("grad", grad, weight.rows, weight.cols);
  require_optional("param", param, weight.rows, weight.cols, DType::bf16);
  require_at_least_zero("learning_rate", learning_rate);
  require(beta1 >= 0 && beta1 < 1, "beta1 must be in [0, 1), got ", beta1);
  require(beta2 >= 0 && beta2 < 1, "beta2 must be in [0, 1), got ", beta2);
  require_positive("eps", eps);
  require_at_least_zero("weight_decay", weight_decay);
  require(correction1 > 0 && correction1 <= 1, "correction1 must be in (0, 1], got ", correction1);
  require(correction2 > 0 && correction2 <= 1, "correction2 must be in (0, 1], got ", correction2);
  require_at_least_zero("grad_scale", grad_scale);
}

void Lerp::check() const {
  const DType dtype = require_matrix("out", out);
  require_shape("x", x, out.rows, out.cols, dtype);
  require_optional("param", param, out.rows, out.cols, DType::bf16);
  require(param.rows == 0 || dtype == DType::f32, "out is bf16, expected f32 beside a param");
  require(weight >= 0 && weight <= 1, "weight must be in [0, 1], got ", weight);
}

}  // namespace heed::op
