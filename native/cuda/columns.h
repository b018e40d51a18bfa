// Sums over the rows of a matrix, for the gradients of biases and of norms' weights: blocks of rows into partial sums,
// these into the result. How many rows a block has depends on the matrix alone.
#pragma once

#include "native/cuda/elements.h"

namespace heed::cuda {

// Of a matrix with so many rows: rows to a block, and blocks. 528 blocks are four to a multiprocessor of an H100.
inline int64_t rows_a_block(int64_t rows) {
  const int64_t share = ceil_div(rows, 528);
  return share < 8 ? 8 : share;
}
inline int64_t row_blocks(int64_t rows) {
  return ceil_div(rows, rows_a_block(rows));
}

// sums[c] += Σ_i partial[i · stride + c], i < count.
void add_partial_sums(cudaStream_t stream, float* sums, const float* partial, int64_t count, int64_t stride,
                      int64_t cols);

}  // namespace heed::cuda
