// What the low-rank term of a linear layer needs besides matrix products: a scaled part of a matrix's columns.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// out[:, first + j] += scale · x[:, j]
struct AddColumns {
  InOut out;  // (N, C)
  In x;       // (N, n)
  int64_t first = 0;
  float scale = 1;
  void check() const;
};

// out[:, j] = scale · x[:, first + j]
struct TakeColumns {
  Out out;  // (N, n)
  In x;     // (N, C)
  int64_t first = 0;
  float scale = 1;
  void check() const;
};

}  // namespace heed::op
