// The inner parts of a matrix product: packing into panels, and the register tile.
//
// A panel holds a few rows of a (or columns of b) so that what one step of k needs lies side by side: panel[k · width +
// i]. Packing is the only place that knows whether a matrix is read transposed.
#pragma once

#include "native/cpu/level.h"
// level.h comes first in every kernel source.
#include "native/cpu/vmath.h"

namespace heed::cpu::HEED_LEVEL {

// A tile of out is kept in registers: 28 of 32 with AVX-512, 12 of 16 with AVX2, 8 of 16 with SSE2, where a product
// needs a register of its own.
#if defined(__AVX512F__)
constexpr int kTileRows = 14;
#elif defined(__AVX2__)
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileCols = 2 * kLanes;

static inline vec load_part(const float* p, int64_t n) {
  return n >= kLanes ? load(p) : n <= 0 ? vec{} : load_n(p, n);
}
static inline void store_part(float* p, vec v, int64_t n) {
  if (n >= kLanes)
    store(p, v);
  else if (n > 0)
    store_n(p, v, n);
}

// Transposes kLanes vectors in registers: in the step of s, rows i and i + s trade their off-diagonal blocks of s
// lanes.
static inline void transpose(vec (&r)[kLanes]) {
#pragma GCC unroll 4
  for (int s = kLanes / 2; s > 0; s /= 2) {
    const ivec lane = lane_indices(), upper = (lane & s) != 0;
    const ivec low = upper ? lane - s + kLanes : lane, high = upper ? lane + kLanes : lane + s;
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if ((i & s) != 0) continue;
      const vec a = r[i], b = r[i + s];
      r[i] = __builtin_shuffle(a, b, low);
      r[i + s] = __builtin_shuffle(a, b, high);
    }
  }
}

// panel[k · width + i] = source[i · stride + k] for i < lines ≤ kLanes. Writes whole vectors, in the order of k: what
// is beyond the width is overwritten, so a panel needs kLanes floats of slack. Lanes from lines on are zero.
static void pack_transposed(float* panel, int64_t width, const float* source, int64_t stride, int64_t lines,
                            int64_t depth) {
  for (int64_t k = 0; k < depth; k += kLanes) {
    const int64_t left = depth - k;
    vec r[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) r[i] = i < lines ? load_part(source + i * stride + k, left) : vec{};
    transpose(r);
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j)
      if (j < left) store(panel + (k + j) * width, r[j]);
  }
}

// For lines that lie side by side already, several groups of them at once so that source is read in its own order:
// panels[g · group_stride + k · width + i] = source[k · stride + g · group + i] for the groups below `lines`, i < group
// ≤ kLanes. Whole vectors and slack as above; what is not `readable` of a row of source is zero.
static void pack_straight(float* panels, int64_t width, int64_t group, int64_t group_stride, const float* source,
                          int64_t stride, int64_t lines, int64_t readable, int64_t depth) {
  constexpr int64_t kRows = 16;  // of source: few enough that the next group finds the rest of their cache lines
  for (int64_t begin = 0; begin < depth; begin += kRows) {
    const int64_t end = begin + kRows < depth ? begin + kRows : depth;
    float* to = panels;
    for (int64_t i = 0; i < lines; i += group, to += group_stride)
      for (int64_t k = begin; k < end; ++k) {
        __builtin_prefetch(source + (k + kRows) * stride + i);
        store(to + k * width, load_part(source + k * stride + i, readable - i));
      }
  }
}

// Where a tile goes: out = [add +] [bias +] tile, in `cols` columns. add may be out itself.
struct Tile {
  float* out;
  const float *add, *bias;  // null: none
  int64_t stride;           // of out and add
  int64_t cols;             // ≤ kTileCols
  const float* ahead;       // fetched into the cache meanwhile, ahead_step floats further with each k
  int64_t ahead_step;
};

// rows × kTileCols of out, from a panel of a and one of b. Each element is one chain of products in the order of k.
template <int rows>
static void multiply_tile(const float* a, int64_t a_width, const float* b, int64_t depth, const Tile& to) {
  vec c[rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    c[i][0] = c[i][1] = vec{};
    __builtin_prefetch(to.out + i * to.stride, 1);
  }
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(to.ahead + k * to.ahead_step);
    const vec b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const vec ai = splat(a[i]);
      c[i][0] = fma(ai, b0, c[i][0]);
      c[i][1] = fma(ai, b1, c[i][1]);
    }
    a += a_width;
    b += kTileCols;
  }
  const int64_t n0 = to.cols, n1 = to.cols - kLanes;
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    if (to.bias != nullptr) {
      c[i][0] += load_part(to.bias, n0);
      c[i][1] += load_part(to.bias + kLanes, n1);
    }
    if (to.add != nullptr) {
      c[i][0] += load_part(to.add + i * to.stride, n0);
      c[i][1] += load_part(to.add + i * to.stride + kLanes, n1);
    }
    store_part(to.out + i * to.stride, c[i][0], n0);
    store_part(to.out + i * to.stride + kLanes, c[i][1], n1);
  }
}

using MultiplyTile = void (*)(const float* a, int64_t a_width, const float* b, int64_t depth, const Tile& to);

template <int rows = kTileRows>
static MultiplyTile tile_of(int64_t height) {
  if constexpr (rows == 1) {
    return multiply_tile<1>;
  } else {
    return height == rows ? multiply_tile<rows> : tile_of<rows - 1>(height);
  }
}

}  // namespace heed::cpu::HEED_LEVEL
