// Attention without tensor cores: f32, and bf16 of any head dimension. A warp has one query and head; its keys come in
// blocks of 32 absolute positions, a lane to a key.
#pragma once

#include "native/cuda/elements.h"
#include "native/cuda/math.h"
#include "native/cuda/reduce.h"
#include "native/cuda/segments.h"
#include "native/ops/math.h"

namespace heed::cuda {

// Memory of a warp: rows of dim floats.
struct PlainMemory {
  float *query, *sums, *weights;  // (dim), (dim), (32)
  int* rows;                      // (32): where the keys of a block are

  static int floats(int dim) { return 2 * dim + 64; }
  __device__ PlainMemory(float* memory, int dim)
      : query(memory),
        sums(memory + dim),
        weights(memory + 2 * dim),
        rows(reinterpret_cast<int*>(memory + 2 * dim + 32)) {}
};

template <class T>
__device__ float value_of(const T* p) {
  return load_floats<1>(p).at[0];
}

// Σ_d a[d] b[d], one fma after the other.
template <class T>
__device__ float dot_row(const float* a, const T* b, int dim) {
  float sum = 0;
#pragma unroll 4
  for (int d = 0; d < dim; ++d) sum = fmaf(a[d], value_of(b + d), sum);
  return sum;
}

// The score of a query's product with a key.
__device__ inline float score_of(float product, float scale, float softcap) {
  return softcap == 0 ? product * scale : softcap * tanh(product * scale / softcap);
}

// A query's attention to positions first .. last, whose keys and values are at key(row) and value(row) of the
// positions' rows.
template <class T, class Row, class Key, class Value>
__device__ void attend_plain(const PlainMemory& m, const T* query, const Heads& h, int first, int last, Row&& row,
                             Key&& key, Value&& value, T* out, float* lse) {
  const int lane = threadIdx.x % 32, dim = h.dim;
#pragma unroll 1
  for (int d = lane; d < dim; d += 32) {
    m.query[d] = value_of(query + d);
    m.sums[d] = 0;
  }
  __syncwarp();
  const float to_log2 = h.scale * kLog2e;
  const auto log2_score = [&](float product) {
    return h.softcap == 0 ? product * to_log2 : score_of(product, h.scale, h.softcap) * kLog2e;
  };
  float top = -INFINITY, sum = 0;  // of the scores in powers of two
  for (int begin = first / 32 * 32; begin <= last; begin += 32) {
    const int position = begin + lane;
    const bool seen = position >= first && position <= last;
    const int mine = seen ? row(position) : 0;
    const float score = seen ? log2_score(dot_row(m.query, key(mine), dim)) : -INFINITY;
    const float most = max_or_nan(top, warp_reduce(score, [](float a, float b) { return max_or_nan(a, b); }));
    const float keep = exp2_in_range(max_or_nan(top - most, -126.0f));
    const float p = seen ? exp2_in_range(max_or_nan(score - most, -126.0f)) : 0.0f;
    top = most;
    sum = fmaf(sum, keep, warp_reduce(p, [](float a, float b) { return a + b; }));
    m.weights[lane] = p;
    m.rows[lane] = mine;
    __syncwarp();
    const int skip = max(0, first - begin), count = min(32, last + 1 - begin);
#pragma unroll 1
    for (int d = lane; d < dim; d += 32) {
      float total = m.sums[d] * keep;
#pragma unroll 4
      for (int j = skip; j < count; ++j) total = fmaf(m.weights[j], value_of(value(m.rows[j]) + d), total);
      m.sums[d] = total;
    }
    __syncwarp();
  }
  const float inverse = 1.0f / sum;
#pragma unroll 1
  for (int d = lane; d < dim; d += 32) store_floats(out + d, Floats<1>{m.sums[d] * inverse});
  if (lse != nullptr && lane == 0) *lse = fmaf(top, kLn2, float(math::log(double(sum))));
  __syncwarp();
}

}  // namespace heed::cuda
