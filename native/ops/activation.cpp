#include "native/ops/activation.h"

#include "native/ops/check.h"

namespace heed::op {

void Gelu::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
}

void GeluBackward::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("dx", dx, x.rows, x.cols, dtype);
  require_shape("dout", dout, x.rows, x.cols, dtype);
}

void Relu::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
}

void ReluBackward::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("dx", dx, x.rows, x.cols, dtype);
  require_shape("dout", dout, x.rows, x.cols, dtype);
}

namespace {

void require_gate(const Tensor& out, const Tensor& gate_up) {
  const DType dtype = require_matrix("out", out);
  require_shape("gate_up", gate_up, out.rows, 2 * out.cols, dtype);
  require_apart("out", out, "gate_up", gate_up);
}

void require_gate_backward(const Tensor& dgate_up, const Tensor& dout, const Tensor& gate_up) {
  const DType dtype = require_matrix("dout", dout);
  require_shape("dgate_up", dgate_up, dout.rows, 2 * dout.cols, dtype);
  require_shape("gate_up", gate_up, dout.rows, 2 * dout.cols, dtype);
  require_apart("dgate_up", dgate_up, "dout", dout);
}

}  // namespace

void SwiGlu::check() const {
  require_gate(out, gate_up);
}
void SwiGluBackward::check() const {
  require_gate_backward(dgate_up, dout, gate_up);
}
void GeGlu::check() const {
  require_gate(out, gate_up);
}
void GeGluBackward::check() const {
  require_gate_backward(dgate_up, dout, gate_up);
}

void Scale::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require_finite("factor", factor);
}

void SoftCap::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require_positive("cap", cap);
}

void SoftCapBackward::check() const {
  const DType dtype = require_matrix("out", out);
  require_shape("dx", dx, out.rows, out.cols, dtype);
  require_shape("dout", dout, out.rows, out.cols, dtype);
  require_positive("cap", cap);
}

void Add::check() const {
  const DType dtype = require_matrix("out", out);
  require_shape("a", a, out.rows, out.cols, dtype);
  require_shape("b", b, out.rows, out.cols, dtype);
}

void Dropout::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require(rate >= 0 && rate < 1, "rate must be in [0, 1), got ", rate);
  require(first_row >= 0, "first_row must be at least 0, got ", first_row);
}

}  // namespace heed::op
