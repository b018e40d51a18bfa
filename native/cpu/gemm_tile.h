// The inner parts of a matrix product: packing into panels, and the register tile.
//
// A panel holds a few rows of a (or columns of b) so that the values for one step of k are contiguous: panel[k · width
// + i]. Only packing knows whether a matrix is transposed.
#pragma once

#include "native/cpu/level.h"
// level.h comes first in every kernel source.
#include "native/cpu/vmath.h"

namespace heed::cpu::HEED_LEVEL {

// A tile of out is kept in registers: 28 of 32 with AVX-512, 12 of 16 with AVX2, 8 of 16 with SSE2, where a product
// needs another register.
#if defined(__AVX512F__)
constexpr int kTileRows = 14;
#elif defined(__AVX2__)
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileCols = 2 * kLanes;

template <class T>
static inline vec load_part(const T* p, int64_t n) {
  return n >= kLanes ? load(p) : n <= 0 ? vec{} : load_n(p, n);
}
template <class T>
static inline void store_part(T* p, vec v, int64_t n) {
  if (n >= kLanes)
    store(p, v);
  else if (n > 0)
    store_n(p, v, n);
}

// Elements of a panel. A step of k is one term, as a float: bf16 is widened when it is packed. If the machine
// multiplies bf16, a step is a pair of terms, two bf16 in the place of one float.
template <class T>
struct Single {
  using Type = T;
  static constexpr int64_t kTerms = 1;
  // Steps of one line from p, with `terms` terms left.
  static vec along(const T* p, int64_t terms) { return load_part(p, terms); }
  // One step of adjacent lines, with `lines` left; the step's terms are `stride` apart.
  static vec across(const T* p, int64_t, int64_t lines, int64_t) { return load_part(p, lines); }
  static vec multiply_add(vec a, vec b, vec c) { return fma(a, b, c); }
};
#if defined(__AVX512BF16__)
struct Pairs {
  using Type = bf16;
  static constexpr int64_t kTerms = 2;
  static vec along(const bf16* p, int64_t terms) {
    const int64_t n = terms < 0 ? 0 : terms;
    return n >= 2 * kLanes ? (vec)_mm512_loadu_si512(p)
                           : (vec)_mm512_maskz_loadu_epi16(__mmask32((uint64_t{1} << n) - 1), p);
  }
  static vec across(const bf16* p, int64_t stride, int64_t lines, int64_t terms) {
    const __mmask16 some = first_lanes(lines < 0 ? 0 : lines > kLanes ? kLanes : lines);
    const uvec low = __builtin_convertvector((hvec)_mm256_maskz_loadu_epi16(some, p), uvec);
    if (terms < 2) return (vec)low;
    return (vec)(low | (uvec)widen((hvec)_mm256_maskz_loadu_epi16(some, p + stride)));
  }
  // Both products of a lane are added to c, one after the other; denormal numbers count as zero.
  static vec multiply_add(vec a, vec b, vec c) { return (vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b); }
};
using Bf16Steps = Pairs;
#else
using Bf16Steps = Single<bf16>;
#endif

// The kind of steps for elements of this type.
static inline Single<float> steps_of(const float*) {
  return {};
}
static inline Bf16Steps steps_of(const bf16*) {
  return {};
}

// panel[k · width + i] = step k of line i of source, for i < lines ≤ kLanes; lines are `stride` elements apart, and
// have `terms` terms left. Writes complete vectors in the order of k: the excess is overwritten by the next step, so a
// panel needs kLanes floats of slack. Lanes from lines on are zero.
template <class Steps>
static void pack_transposed(Steps, float* panel, int64_t width, const typename Steps::Type* source, int64_t stride,
                            int64_t lines, int64_t depth, int64_t terms) {
  for (int64_t k = 0; k < depth; k += kLanes) {
    vec r[kLanes];
    HEED_UNROLL
    for (int i = 0; i < kLanes; ++i)
      r[i] = i < lines ? Steps::along(source + i * stride + k * Steps::kTerms, terms - k * Steps::kTerms) : vec{};
    transpose(r);
    HEED_UNROLL
    for (int j = 0; j < kLanes; ++j)
      if (j < depth - k) store(panel + (k + j) * width, r[j]);
  }
}

// For lines that are already adjacent, several groups of them at once so that source is read in order:
// panels[g · group_stride + k · width + i] = step k of line g · group + i, for the groups below `lines`, i < group ≤
// kLanes; terms are `stride` elements apart. Complete vectors and slack as above; values beyond `readable` of a row
// of source are zero.
template <class Steps>
static void pack_straight(Steps, float* panels, int64_t width, int64_t group, int64_t group_stride,
                          const typename Steps::Type* source, int64_t stride, int64_t lines, int64_t readable,
                          int64_t depth, int64_t terms) {
  constexpr int64_t kRows = 16;  // of source: few enough that the next group finds their cache lines still cached
  for (int64_t begin = 0; begin < depth; begin += kRows) {
    const int64_t end = begin + kRows < depth ? begin + kRows : depth;
    float* to = panels;
    for (int64_t i = 0; i < lines; i += group, to += group_stride)
      for (int64_t k = begin; k < end; ++k) {
        const typename Steps::Type* const from = source + k * Steps::kTerms * stride + i;
        __builtin_prefetch(from + kRows * Steps::kTerms * stride);
        store(to + k * width, Steps::across(from, stride, readable - i, terms - k * Steps::kTerms));
      }
  }
}

// Destination of a tile: out = [add +] [bias +] tile, in `cols` columns. add may be out itself.
struct Tile {
  float* out;
  const float *add, *bias;     // null: none
  int64_t stride, add_stride;  // of out and add
  int64_t cols;                // ≤ kTileCols
  const char* ahead;           // prefetched meanwhile, ahead_step bytes further with each step of k
  int64_t ahead_step;
};

// rows × kTileCols of out, from a panel of a and one of b. Each element is one chain of products in the order of k.
template <class Steps, int rows>
static void multiply_tile(const float* a, int64_t a_width, const float* b, int64_t depth, const Tile& to) {
  vec c[rows][2];
  HEED_UNROLL
  for (int i = 0; i < rows; ++i) {
    c[i][0] = c[i][1] = vec{};
    __builtin_prefetch(to.out + i * to.stride, 1);
  }
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(to.ahead + k * to.ahead_step);
    const vec b0 = load(b), b1 = load(b + kLanes);
    HEED_UNROLL
    for (int i = 0; i < rows; ++i) {
      const vec ai = splat(a[i]);
      c[i][0] = Steps::multiply_add(ai, b0, c[i][0]);
      c[i][1] = Steps::multiply_add(ai, b1, c[i][1]);
    }
    a += a_width;
    b += kTileCols;
  }
  const int64_t n0 = to.cols, n1 = to.cols - kLanes;
  HEED_UNROLL
  for (int i = 0; i < rows; ++i) {
    if (to.bias != nullptr) {
      c[i][0] += load_part(to.bias, n0);
      c[i][1] += load_part(to.bias + kLanes, n1);
    }
    if (to.add != nullptr) {
      c[i][0] += load_part(to.add + i * to.add_stride, n0);
      c[i][1] += load_part(to.add + i * to.add_stride + kLanes, n1);
    }
    store_part(to.out + i * to.stride, c[i][0], n0);
    store_part(to.out + i * to.stride + kLanes, c[i][1], n1);
  }
}

using MultiplyTile = void (*)(const float* a, int64_t a_width, const float* b, int64_t depth, const Tile& to);

template <class Steps, int rows = kTileRows>
static MultiplyTile tile_of(int64_t height) {
  if constexpr (rows == 1) {
    return multiply_tile<Steps, 1>;
  } else {
    return height == rows ? multiply_tile<Steps, rows> : tile_of<Steps, rows - 1>(height);
  }
}

}  // namespace heed::cpu::HEED_LEVEL
