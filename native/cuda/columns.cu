#include "native/cuda/backend.h"
#include "native/cuda/bias_backward.h"

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
namespace {

template <class T>
struct Rows {
  const T* dout;
  template <int N>
  __device__ Floats<N> at(int64_t i) const {
    return load_floats<N>(dout + i);
  }
};

}  // namespace

void CudaBackend::launch(const op::BiasBackward& op) {
  with_type(op.dout, [&](auto like) {
    const Rows<decltype(like)> rows{op.dout.ptr<decltype(like)>()};
    add_rows_of<decltype(like)>(stream_, op, scratch(op), rows, aligned(rows.dout));
  });
}

}  // namespace heed::cuda
