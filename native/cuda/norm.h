// A row of a matrix over the threads of a block: how many threads, and how much of the row each holds, are functions of
// the row's length alone, and so is the order of its sums.
#pragma once

#include "native/cuda/elements.h"
#include "native/cuda/reduce.h"

namespace heed::cuda {

// kPacks packs of kWidth elements a thread, kThreads packs apart; 0: as many as there are.
template <int kThreadsOfRow, int kWidthOfPack, int kPacksOfThread>
struct RowShape {
  static constexpr int kThreads = kThreadsOfRow, kWidth = kWidthOfPack, kPacks = kPacksOfThread;
};

// body(RowShape) of the one for rows of so many columns.
template <class T, class F>
void with_row_shape(int cols, bool wide, F&& body) {
  constexpr int N = 16 / sizeof(T);
  if (!wide || cols % N != 0) return body(RowShape<256, 1, 0>{});
  if (cols <= 128 * N) return body(RowShape<128, N, 1>{});
  if (cols <= 256 * N) return body(RowShape<256, N, 1>{});
  if (cols <= 512 * N) return body(RowShape<512, N, 1>{});
  if (cols <= 1024 * N) return body(RowShape<512, N, 2>{});
  return body(RowShape<512, N, 0>{});
}

// Elements of a row that lives in registers, or, kPacks = 0, in memory.
template <class T, class Shape>
struct RowInRegisters {
  static constexpr int N = Shape::kWidth, kHeld = Shape::kPacks == 0 ? 1 : Shape::kPacks;
  const T* row;
  int cols;
  Floats<N> held[kHeld];

  __device__ void load(const T* from, int count) {
    row = from;
    cols = count;
    if constexpr (Shape::kPacks > 0) {
#pragma unroll
      for (int k = 0; k < kHeld; ++k) {
        const int col = N * (k * Shape::kThreads + threadIdx.x);
        if (col < cols) held[k] = load_floats<N>(row + col);
      }
    }
  }
  // body(column of the first, N elements)
  template <class F>
  __device__ void each(F&& body) const {
    if constexpr (Shape::kPacks > 0) {
#pragma unroll
      for (int k = 0; k < kHeld; ++k) {
        const int col = N * (k * Shape::kThreads + threadIdx.x);
        if (col < cols) body(col, held[k]);
      }
    } else {
      for (int col = N * threadIdx.x; col < cols; col += N * Shape::kThreads) body(col, load_floats<N>(row + col));
    }
  }
};

}  // namespace heed::cuda
