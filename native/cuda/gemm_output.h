// What becomes of a sum: both kernels of products end with it, and so in the same bits.
#pragma once

#include "native/cuda/activation.h"
#include "native/cuda/gemm.h"
#include "native/cuda/ptx.h"

namespace heed::cuda {

__device__ inline float as_float(float x) {
  return x;
}
__device__ inline float as_float(bf16 x) {
  return __bfloat162float(x);
}

// Adds bias and residual to N sums of neighbours, each rounded to f32.
template <class Out, int N>
__device__ void add_inputs(const Product& p, int64_t row, int col, float (&sum)[N]) {
  if (p.bias != nullptr) {
    const Pack<Out, N> bias = load_pack<N>(static_cast<const Out*>(p.bias) + col);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += as_float(bias.at[i]);
  }
  if (p.residual != nullptr) {
    const Pack<Out, N> residual = load_pack<N>(static_cast<const Out*>(p.residual) + row * p.n + col);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += as_float(residual.at[i]);
  }
}

// Of a thread's sums from `first` on, of kCols columns as wgmma leaves them: four at a time, two neighbours in row and
// two in row + 8, the next four 8 columns on. All is loaded before it is used.
template <class Out, int kCols, int kSums>
__device__ void add_inputs_to_columns(const Product& p, int row, int col, float (&sum)[kSums], int first) {
  if (p.bias != nullptr) {
    Pack<Out, 2> bias[kCols / 8] = {};
    const Out* from = static_cast<const Out*>(p.bias) + col;
#pragma unroll
    for (int j = 0; j < kCols / 8; ++j)
      if (col + 8 * j < p.n) bias[j] = load_pack<2>(from + 8 * j);
#pragma unroll
    for (int i = 0; i < kCols / 2; ++i) sum[first + i] += as_float(bias[i / 4].at[i % 2]);
  }
  if (p.residual != nullptr) {
    Pack<Out, 2> residual[kCols / 4] = {};
    const Out* from = static_cast<const Out*>(p.residual) + int64_t(row) * p.n + col;
#pragma unroll
    for (int j = 0; j < kCols / 4; ++j)
      if (row + 8 * (j % 2) < p.m && col + 8 * (j / 2) < p.n)
        residual[j] = load_pack<2>(from + 8 * (j % 2) * int64_t(p.n) + 8 * (j / 2));
#pragma unroll
    for (int i = 0; i < kCols / 2; ++i) sum[first + i] += as_float(residual[i / 2].at[i % 2]);
  }
}

// N neighbours. Returns what is written.
template <class Out, int N>
__device__ Pack<Out, N> write(const Product& p, int64_t row, int col, float (&sum)[N]) {
  Out* out = static_cast<Out*>(p.out) + row * p.n + col;
  add_inputs<Out>(p, row, col, sum);
  Pack<Out, N> pack;
  if constexpr (sizeof(Out) == 4) {
    if (p.accumulate) {
      pack = load_pack<N>(out);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] = pack.at[i] + sum[i];
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if constexpr (sizeof(Out) == 4)
      pack.at[i] = sum[i];
    else
      pack.at[i] = __float2bfloat16_rn(sum[i]);
  }
  store_pack(out, pack);
  return pack;
}

// What becomes of two neighbours that were written.
__device__ inline void write_activated(const Product& p, int64_t row, int col, const Pack<bf16, 2>& x) {
  float y[2];
#pragma unroll
  for (int i = 0; i < 2; ++i)
    y[i] = p.activation == Activation::gelu ? gelu<false>(as_float(x.at[i])) : gelu<true>(as_float(x.at[i]));
  store_pack(reinterpret_cast<uint32_t*>(p.activated + row * p.n + col), Pack<uint32_t, 1>{pack_bf16(y[0], y[1])});
}
__device__ inline void write_gated(const Product& p, int64_t row, int col, const Pack<bf16, 2>& gate,
                                   const Pack<bf16, 2>& up) {
  float y[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) y[i] = swiglu(as_float(gate.at[i]), as_float(up.at[i]));
  store_pack(reinterpret_cast<uint32_t*>(p.activated + row * (p.n / 2) + col),
             Pack<uint32_t, 1>{pack_bf16(y[0], y[1])});
}

}  // namespace heed::cuda
