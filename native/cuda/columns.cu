#include "native/cuda/backend.h"
#include "native/cuda/columns.h"

namespace heed::cuda {
namespace {

constexpr int kLanes = 16;  // threads that share a column
constexpr int kCols = 32;
struct PartialShared {
  float sums[kLanes][kCols];
};

__global__ void __launch_bounds__(kLanes* kCols)
    add_partial_sums_kernel(float* sums, const float* partial, const int count, const int stride, const int cols) {
  PartialShared& shared = shared_memory<PartialShared>();
  const int lane = threadIdx.x / kCols, c = threadIdx.x % kCols, col = blockIdx.x * kCols + c;
  float sum = 0;
  if (col < cols) {
#pragma unroll 8
    for (int i = lane; i < count; i += kLanes) sum += partial[int64_t(i) * stride + col];
  }
  shared.sums[lane][c] = sum;
  __syncthreads();
  if (lane != 0 || col >= cols) return;
#pragma unroll
  for (int l = 1; l < kLanes; ++l) sum += shared.sums[l][c];
  sums[col] += sum;
}

// A block has 32 threads of columns by 8 of rows.
constexpr int kBiasRows = 8, kBiasThreads = 32 * kBiasRows;
template <int N>
struct BiasShared {
  Floats<N> sums[kBiasRows][32];
};
template <int N, class T>
__global__ void __launch_bounds__(kBiasThreads)
    bias_backward_kernel(float* partial, const T* dout, const int rows, const int cols, const int share) {
  BiasShared<N>& shared = shared_memory<BiasShared<N>>();
  const int lane = threadIdx.x / 32, c = threadIdx.x % 32, col = N * (blockIdx.y * 32 + c);
  const int end = min(rows, int(blockIdx.x + 1) * share);
  Floats<N> sum{};
  if (col < cols) {
#pragma unroll 4
    for (int row = blockIdx.x * share + lane; row < end; row += kBiasRows) {
      const Floats<N> x = load_floats<N>(dout + int64_t(row) * cols + col);
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

}  // namespace

void add_partial_sums(cudaStream_t stream, float* sums, const float* partial, int64_t count, int64_t stride,
                      int64_t cols) {
  enqueue(
      add_partial_sums_kernel,
      {.blocks = ceil_div(cols, kCols), .threads = kLanes * kCols, .shared = sizeof(PartialShared), .stream = stream},
      sums, partial, int(count), int(stride), int(cols));
}

int64_t scratch_bytes(const op::BiasBackward& op) {
  return row_blocks(op.dout.rows) * op.dout.cols * int64_t(sizeof(float));
}

void CudaBackend::launch(const op::BiasBackward& op) {
  if (op.dout.rows == 0) return;
  const int64_t rows = op.dout.rows, cols = op.dout.cols, blocks = row_blocks(rows);
  float* partial = scratch(op);
  with_type(op.dout, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    const T* dout = op.dout.ptr<T>();
    const bool wide = cols % N == 0 && aligned(dout);
    enqueue(wide ? bias_backward_kernel<N, T> : bias_backward_kernel<1, T>,
            {.blocks = {unsigned(blocks), ceil_div(cols, 32 * (wide ? N : 1))},
             .threads = kBiasThreads,
             .shared = wide ? sizeof(BiasShared<N>) : sizeof(BiasShared<1>),
             .stream = stream_},
            partial, dout, int(rows), int(cols), int(rows_a_block(rows)));
  });
  add_partial_sums(stream_, op.dbias.ptr<float>(), partial, blocks, cols, cols);
}

}  // namespace heed::cuda
