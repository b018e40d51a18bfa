// Matrix products.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// out = a·b [+ bias] [+ residual], or out += a·b. Each of a and b may be read transposed.
// Every element of out is summed over k in an order that depends on k alone: not on m, n, threads or the row's place in
// a batch. a and b have the same type; out has that type or f32, and so have bias and residual.
struct Gemm {
  InOut out;         // (m, n)
  In a;              // (m, k), or (k, m) if transpose_a
  In b;              // (k, n), or (n, k) if transpose_b
  In bias = {};      // (1, n), or none
  In residual = {};  // (m, n), or none; may be out itself
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false;  // out += a·b; excludes bias and residual
  // b is a parameter: the backend may keep it packed until an op, an upload, a copy or zero writes to it
  bool weight = false;
  void check() const;
};

// dbias[n] += Σ_m dout[m, n]
struct BiasBackward {
  InOut dbias;  // (1, n) f32 +=
  In dout;      // (m, n)
  void check() const;
};

}  // namespace heed::op
