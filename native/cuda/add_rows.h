// Sums of rows by index: to[index[n]] += from[n], where several n may have one index. Its terms are added in the order
// of n by one block, and the sum rounded once: no atomics.
#pragma once

#include "native/cuda/elements.h"

namespace heed::cuda {

constexpr int kAddThreads = 128;
struct AddRowsShared {
  unsigned matches[kAddThreads / 32];  // of each warp
};

// Block (n, c): the row index[n], if n is the first with it, and N · kAddThreads of its columns.
template <int N, class To, class From>
__global__ void __launch_bounds__(kAddThreads)
    add_rows_kernel(To* to, const From* from, const int32_t* index, const int count, const int cols) {
  AddRowsShared& shared = shared_memory<AddRowsShared>();
  const int first = blockIdx.x, wanted = index[first], col = N * (blockIdx.y * kAddThreads + threadIdx.x);
  bool earlier = false;
  for (int n = threadIdx.x; n < first && !earlier; n += kAddThreads) earlier = index[n] == wanted;
  const unsigned by_lane = __ballot_sync(0xffffffffu, earlier);
  if (threadIdx.x % 32 == 0) shared.matches[threadIdx.x / 32] = by_lane;
  __syncthreads();
  unsigned by_warp = 0;
#pragma unroll
  for (int warp = 0; warp < kAddThreads / 32; ++warp) by_warp |= shared.matches[warp];
  if (by_warp != 0) return;
  __syncthreads();

  Floats<N> sum{};
  if (col < cols) sum = load_floats<N>(to + int64_t(wanted) * cols + col);
  for (int begin = first; begin < count; begin += kAddThreads) {
    const int n = begin + threadIdx.x;
    const unsigned matches = __ballot_sync(0xffffffffu, n < count && index[n] == wanted);
    if (threadIdx.x % 32 == 0) shared.matches[threadIdx.x / 32] = matches;
    __syncthreads();
    for (int warp = 0; warp < kAddThreads / 32; ++warp)
      for (unsigned left = shared.matches[warp]; left != 0; left &= left - 1) {
        const int64_t row = begin + 32 * warp + __ffs(int(left)) - 1;
        if (col >= cols) continue;
        const Floats<N> term = load_floats<N>(from + row * cols + col);
#pragma unroll
        for (int k = 0; k < N; ++k) sum.at[k] += term.at[k];
      }
    __syncthreads();
  }
  if (col < cols) store_floats(to + int64_t(wanted) * cols + col, sum);
}

template <class To, class From>
void add_rows(cudaStream_t stream, To* to, const From* from, const Tensor& index, int64_t cols) {
  constexpr int N = 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To));
  const bool wide = cols % N == 0 && aligned(to, from);
  const int64_t width = (wide ? N : 1) * kAddThreads;
  enqueue(wide ? add_rows_kernel<N, To, From> : add_rows_kernel<1, To, From>,
          {.blocks = {unsigned(index.rows), ceil_div(cols, width)},
           .threads = kAddThreads,
           .shared = sizeof(AddRowsShared),
           .stream = stream},
          to, from, index.ptr<const int32_t>(), int(index.rows), int(cols));
}

}  // namespace heed::cuda
