// The gradient of a bias: the sum over the rows of a matrix that is read, or made in the same pass.
#pragma once

#include "native/cuda/columns.h"
#include "native/ops/gemm.h"

namespace heed::cuda {

// A block has 32 threads of columns by 8 of rows.
constexpr int kBiasRows = 8, kBiasThreads = 32 * kBiasRows;
template <int N>
struct BiasShared {
  Floats<N> sums[kBiasRows][32];
};
template <int N, class F>
__global__ void __launch_bounds__(kBiasThreads)
    bias_backward_kernel(float* partial, const F dout, const int rows, const int cols, const int share) {
  BiasShared<N>& shared = shared_memory<BiasShared<N>>();
  const int lane = threadIdx.x / 32, c = threadIdx.x % 32, col = N * (blockIdx.y * 32 + c);
  const int end = min(rows, int(blockIdx.x + 1) * share);
  Floats<N> sum{};
  if (col < cols) {
#pragma unroll 4
    for (int row = blockIdx.x * share + lane; row < end; row += kBiasRows) {
      const Floats<N> x = dout.template at<N>(int64_t(row) * cols + col);
#pragma unroll
      for (int k = 0; k < N; ++k) sum.at[k] += x.at[k];
    }
  }
  shared.sums[lane][c] = sum;
  __syncthreads();
  if (lane != 0 || col >= cols) return;
#pragma unroll
  for (int l = 1; l < kBiasRows; ++l)
#pragma unroll
    for (int k = 0; k < N; ++k) sum.at[k] += shared.sums[l][c].at[k];
#pragma unroll
  for (int k = 0; k < N; ++k) partial[int64_t(blockIdx.x) * cols + col + k] = sum.at[k];
}

// f.at<N>(i): the elements i .. i + N - 1 of dout, which are of type T. partial: scratch_bytes(op).
template <class T, class F>
void add_rows_of(cudaStream_t stream, const op::BiasBackward& op, float* partial, const F& f, bool wide) {
  constexpr int N = 16 / sizeof(T);
  const int64_t rows = op.dout.rows, cols = op.dout.cols, blocks = row_blocks(rows);
  if (rows == 0) return;
  wide = wide && cols % N == 0;
  enqueue(wide ? bias_backward_kernel<N, F> : bias_backward_kernel<1, F>,
          {.blocks = {unsigned(blocks), ceil_div(cols, 32 * (wide ? N : 1))},
           .threads = kBiasThreads,
           .shared = wide ? sizeof(BiasShared<N>) : sizeof(BiasShared<1>),
           .stream = stream},
          partial, f, int(rows), int(cols), int(rows_a_block(rows)));
  add_partial_sums(stream, op.dbias.ptr<float>(), partial, blocks, cols, cols);
}

}  // namespace heed::cuda
