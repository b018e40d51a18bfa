// Kernels of which each element of the result is a function of a few others: how they are spread over threads, 16 bytes
// of an array a thread where the arrays allow it.
#pragma once

#include <cstdint>

#include "native/core/tensor.h"
#include "native/cuda/launch.h"
#include "native/cuda/ptx.h"

namespace heed::cuda {

// body(T{}) with the element type of a tensor.
template <class F>
void with_type(const Tensor& t, F&& body) {
  if (t.dtype == DType::bf16)
    body(bf16{});
  else
    body(float{});
}

// N neighbours, as floats.
template <int N>
struct Floats {
  float at[N];
};

template <int N>
__device__ Floats<N> load_floats(const float* p) {
  const Pack<float, N> pack = load_pack<N>(p);
  Floats<N> x;
#pragma unroll
  for (int i = 0; i < N; ++i) x.at[i] = pack.at[i];
  return x;
}
template <int N>
__device__ Floats<N> load_floats(const bf16* p) {
  Floats<N> x;
  if constexpr (N == 1) {
    x.at[0] = __bfloat162float(load_pack<1>(p).at[0]);
  } else {
    const Pack<uint32_t, N / 2> pack = load_pack<N / 2>(reinterpret_cast<const uint32_t*>(p));
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      x.at[2 * i] = __uint_as_float(pack.at[i] << 16);
      x.at[2 * i + 1] = __uint_as_float(pack.at[i] & 0xffff0000u);
    }
  }
  return x;
}
template <int N>
__device__ void store_floats(float* p, const Floats<N>& x) {
  Pack<float, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.at[i] = x.at[i];
  store_pack(p, pack);
}
template <int N>
__device__ void store_floats(bf16* p, const Floats<N>& x) {
  if constexpr (N == 1) {
    store_pack(p, Pack<bf16, 1>{__float2bfloat16_rn(x.at[0])});
  } else {
    Pack<uint32_t, N / 2> pack;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) pack.at[i] = pack_bf16(x.at[2 * i], x.at[2 * i + 1]);
    store_pack(reinterpret_cast<uint32_t*>(p), pack);
  }
}

// As they are once they have been stored.
template <class T, int N>
__device__ Floats<N> rounded(Floats<N> x) {
  if constexpr (sizeof(T) == 2) {
#pragma unroll
    for (int i = 0; i < N; ++i) x.at[i] = __bfloat162float(__float2bfloat16_rn(x.at[i]));
  }
  return x;
}

template <class... P>
bool aligned(const P*... p) {
  return ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}

constexpr int kElementThreads = 256;

// f.at<N>(i): the elements i .. i + N - 1.
template <int N, class F>
__global__ void __launch_bounds__(kElementThreads) elements_kernel(const F f, const int64_t size) {
  int64_t i = N * (int64_t(blockIdx.x) * kElementThreads + threadIdx.x);
  if (i + N <= size)
    f.template at<N>(i);
  else
    for (; i < size; ++i) f.template at<1>(i);
}
template <int N, class F>
void for_elements(cudaStream_t stream, const F& f, int64_t size, bool wide) {
  if (wide)
    enqueue(elements_kernel<N, F>,
            {.blocks = ceil_div(size, N * kElementThreads), .threads = kElementThreads, .stream = stream}, f, size);
  else
    enqueue(elements_kernel<1, F>,
            {.blocks = ceil_div(size, kElementThreads), .threads = kElementThreads, .stream = stream}, f, size);
}

// f.at<N>(row, col): the elements col .. col + N - 1 of a row.
template <int N, class F>
__global__ void __launch_bounds__(kElementThreads) rows_kernel(const F f, const int cols) {
  const int col = N * (blockIdx.y * kElementThreads + threadIdx.x);
  if (col < cols) f.template at<N>(blockIdx.x, col);
}
template <int N, class F>
void for_rows(cudaStream_t stream, const F& f, int64_t rows, int64_t cols, bool wide) {
  if (wide && cols % N == 0)
    enqueue(
        rows_kernel<N, F>,
        {.blocks = {unsigned(rows), ceil_div(cols, N * kElementThreads)}, .threads = kElementThreads, .stream = stream},
        f, int(cols));
  else
    enqueue(rows_kernel<1, F>,
            {.blocks = {unsigned(rows), ceil_div(cols, kElementThreads)}, .threads = kElementThreads, .stream = stream},
            f, int(cols));
}

}  // namespace heed::cuda
