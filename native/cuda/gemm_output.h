// What becomes of a sum: both kernels of products end with it, and so in the same bits.
#pragma once

#include "native/cuda/gemm.h"
#include "native/cuda/ptx.h"

namespace heed::cuda {

// sum + bias + residual of an element, each rounded to f32.
__device__ inline float add_inputs(const Product& p, int64_t row, int col, float sum) {
  if (p.bias != nullptr) sum += __bfloat162float(p.bias[col]);
  if (p.residual != nullptr) sum += __bfloat162float(p.residual[row * p.n + col]);
  return sum;
}

// Of two neighbours, the first in an even column; n is even.
__device__ inline void add_inputs_to_pair(const Product& p, int64_t row, int col, float& s0, float& s1) {
  if (p.bias != nullptr) {
    const Pack<bf16, 2> bias = load_pack<2>(p.bias + col);
    s0 += __bfloat162float(bias.at[0]);
    s1 += __bfloat162float(bias.at[1]);
  }
  if (p.residual != nullptr) {
    const Pack<bf16, 2> residual = load_pack<2>(p.residual + row * p.n + col);
    s0 += __bfloat162float(residual.at[0]);
    s1 += __bfloat162float(residual.at[1]);
  }
}

// Of a thread's sums from `first` on, of kCols columns as wgmma leaves them: four at a time, two neighbours in row and
// two in row + 8, the next four 8 columns on. All is loaded before it is used.
template <int kCols, int kSums>
__device__ void add_inputs_to_columns(const Product& p, int row, int col, float (&sum)[kSums], int first) {
  if (p.bias != nullptr) {
    Pack<bf16, 2> bias[kCols / 8] = {};
#pragma unroll
    for (int j = 0; j < kCols / 8; ++j)
      if (col + 8 * j < p.n) bias[j] = load_pack<2>(p.bias + col + 8 * j);
#pragma unroll
    for (int i = 0; i < kCols / 2; ++i) sum[first + i] += __bfloat162float(bias[i / 4].at[i % 2]);
  }
  if (p.residual != nullptr) {
    Pack<bf16, 2> residual[kCols / 4] = {};
    const bf16* from = p.residual + int64_t(row) * p.n + col;
#pragma unroll
    for (int j = 0; j < kCols / 4; ++j)
      if (row + 8 * (j % 2) < p.m && col + 8 * (j / 2) < p.n)
        residual[j] = load_pack<2>(from + 8 * (j % 2) * int64_t(p.n) + 8 * (j / 2));
#pragma unroll
    for (int i = 0; i < kCols / 2; ++i) sum[first + i] += __bfloat162float(residual[i / 2].at[i % 2]);
  }
}

template <class Out>
__device__ void write_element(const Product& p, int64_t row, int col, float sum) {
  Out* out = static_cast<Out*>(p.out) + row * p.n + col;
  sum = add_inputs(p, row, col, sum);
  if constexpr (sizeof(Out) == 4)
    *out = p.accumulate ? add_flushing(*out, sum) : sum;
  else
    *out = __float2bfloat16_rn(sum);
}

template <class Out>
__device__ void write_pair(const Product& p, int64_t row, int col, float s0, float s1) {
  Out* out = static_cast<Out*>(p.out) + row * p.n + col;
  add_inputs_to_pair(p, row, col, s0, s1);
  if constexpr (sizeof(Out) == 4) {
    if (p.accumulate) {
      const Pack<float, 2> before = load_pack<2>(out);
      s0 = add_flushing(before.at[0], s0);
      s1 = add_flushing(before.at[1], s1);
    }
    store_pack(out, Pack<float, 2>{s0, s1});
  } else {
    store_pack(reinterpret_cast<uint32_t*>(out), Pack<uint32_t, 1>{pack_bf16(s0, s1)});
  }
}

}  // namespace heed::cuda
