// Products with frozen weights of 8 bits.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// out = a·w [+ bias] [+ residual], where w is b with each column times its scale, rounded to a's type; b may be read
// transposed. Bit for bit what Gemm gives for such a w of a's type.
struct Int8Gemm {
  Out out;           // (m, n)
  In a;              // (m, k)
  In b;              // (k, n) i8, or (n, k) if transpose_b
  In scale;          // (1, columns of b) f32
  In bias = {};      // (1, n), or none
  In residual = {};  // (m, n), or none; may be out itself
  bool transpose_b = false;
  void check() const;
};

}  // namespace heed::op
