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

template <class Out>
__device__ void write_element(const Product& p, int64_t row, int col, float sum) {
  Out* out = static_cast<Out*>(p.out) + row * p.n + col;
  sum = add_inputs(p, row, col, sum);
  if constexpr (sizeof(Out) == 4)
    *out = p.accumulate ? *out + sum : sum;
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
      s0 = before.at[0] + s0;
      s1 = before.at[1] + s1;
    }
    store_pack(out, Pack<float, 2>{s0, s1});
  } else {
    store_pack(reinterpret_cast<uint32_t*>(out), Pack<uint32_t, 1>{pack_bf16(s0, s1)});
  }
}

}  // namespace heed::cuda
