// Gathers the R rows that carry loss from N tokens, scatters their gradients, and converts element types.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// out[r] = x[rows[r]]
struct GatherRows {
  Out out;  // (R, C)
  In x;     // (N, C)
  In rows;  // (R) i32, in [0, N); a prompt's last row occurs once per response
  void check() const;
};

// dx[rows[r]] += dout[r], in the order of r; a row that occurs several times is rounded once
struct ScatterRowsAdd {
  InOut dx;  // (N, C) +=
  In dout;   // (R, C)
  In rows;   // (R) i32
  void check() const;
};

// out = x, f32 or bf16 each: rounded to nearest even if out has fewer bits.
struct Convert {
  Out out;  // any shape
  In x;
  void check() const;
};

}  // namespace heed::op
