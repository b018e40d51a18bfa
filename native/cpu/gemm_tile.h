// The inner parts of a matrix product: packing into panels, and the register tile.
//
// A panel holds a few rows of a (or columns of b) so that what one step of k needs lies side by side: panel[k · width + i]. Packing is
// the only place that knows whether a matrix is read transposed.
#pragma once

#include "native/cpu/level.h"
// level.h comes first in every kernel source.
#include "native/cpu/vmath.h"

namespace heed::cpu::HEED_LEVEL {

// A tile of out is kept in registers: 28 of 32 with AVX-512, 12 of 16 with AVX2, 8 of 16 with SSE2, where a product needs a
// register of its own.
#if defined(__AVX512F__)
constexpr int kTileRows = 14;
#elif defined(__AVX2__)
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileCols = 2 * kLanes;

static inline vec load_part(const float* p, int64_t n) { return n >= kLanes ? load(p) : n <= 0 ? vec{} : load_n(p, n); }
static inline void store_part(float* p, vec v, int64_t n) {
  if (n >= kLanes) store(p, v);
  else if (n > 0) store_n(p, v, n);
}

// Transposes kLanes vectors in registers: in the step of s, rows i and i + s trade their off-diagonal blocks of s lanes.
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

// panel[k · width + i] = source[i · stride + k] for i < lines ≤ kLanes. Writes whole vectors: the lanes from width on are
// overwritten by the next k, so the panel needs kLanes floats of slack; lanes from lines on are zero.
static void pack_transposed(float* panel, int64_t width, const float* source, int64_t stride, int64_t lines, int64_t depth) {
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

// panel[k · width + i] = source[k · stride + i] for i < lines ≤ kLanes; slack and zeros as above.
static void pack_straight(float* panel, int64_t width, const float* source, int64_t stride, int64_t lines, int64_t depth) {
  for (int64_t k = 0; k < depth; ++k) store(panel + k * width, load_part(source + k * stride, lines));
}

// Where a tile goes: out = [add +] [bias +] tile, in `cols` columns. add may be out itself.
struct TileOut {
  float* out;
  const float *add, *bias;  // null: none
  int64_t stride;           // of out and add
  int64_t cols;             // ≤ kTileCols
};

// rows × kTileCols of out, from a panel of a (rows wide) and one of b. Each element is one chain of products in the order of k.
template <int rows>
static void multiply_tile(const float* a, const float* b, int64_t depth, const TileOut& to) {
  vec c[rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    c[i][0] = c[i][1] = vec{};
    __builtin_prefetch(to.out + i * to.stride, 1);
  }
  for (int64_t k = 0; k < depth; ++k) {
    const vec b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const vec ai = splat(a[i]);
      c[i][0] = fma(ai, b0, c[i][0]);
      c[i][1] = fma(ai, b1, c[i][1]);
    }
    a += rows;
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

using MultiplyTile = void (*)(const float* a, const float* b, int64_t depth, const TileOut& to);

template <int rows = kTileRows>
static MultiplyTile tile_of(int64_t height) {
  if constexpr (rows == 1) {
    return multiply_tile<1>;
  } else {
    return height == rows ? multiply_tile<rows> : tile_of<rows - 1>(height);
  }
}

}  // namespace heed::cpu::HEED_LEVEL
