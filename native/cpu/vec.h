// One vector register of floats, in GCC and Clang's vector extensions: 16 lanes with AVX-512, 8 with AVX2, 4 elsewhere
// (SSE2, NEON). Wider types than the machine's would be kept in memory (ten times slower with GCC 12). Sums therefore
// differ in rounding between levels, never within one.
//
// Memory holds floats or bf16, registers only floats: load widens, store rounds to nearest even. Loads and stores are
// unaligned; `_n` forms access only the first n elements (0 ≤ n ≤ kLanes); the rest reads as `fill`.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "native/cpu/level.h"

// For loops over registers: an array of vectors is kept in registers only if they are unrolled completely.
#if defined(__clang__)
#define HEED_UNROLL _Pragma("clang loop unroll(full)")
#else
#define HEED_UNROLL _Pragma("GCC unroll 32")
#endif

namespace heed::cpu::HEED_LEVEL {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float vec __attribute__((vector_size(4 * kLanes)));
typedef int32_t ivec __attribute__((vector_size(4 * kLanes)));
typedef uint32_t uvec __attribute__((vector_size(4 * kLanes)));
typedef uint16_t hvec __attribute__((vector_size(2 * kLanes)));  // bf16, as bits
typedef int8_t bvec __attribute__((vector_size(kLanes)));

static inline vec splat(float x) {
  return x - vec{};
}
static inline ivec lane_indices() {
  ivec v{};
  for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

static inline vec widen(hvec h) {
  return (vec)(__builtin_convertvector(h, uvec) << 16);
}
static inline hvec narrow(vec v) {
  const uvec bits = (uvec)v, rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  const uvec kept =
      (uvec)((ivec)(v == v) & (ivec)rounded) | ((uvec)(v != v) & (bits | 0x400000u));  // a NaN stays a NaN
  return __builtin_convertvector(kept >> 16, hvec);
}

static inline vec load(const float* p) {
  vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
static inline vec load(const bf16* p) {
  hvec h;
  std::memcpy(&h, p, sizeof h);
  return widen(h);
}
static inline vec load(const int8_t* p) {
  bvec b;
  std::memcpy(&b, p, sizeof b);
  return __builtin_convertvector(__builtin_convertvector(b, ivec), vec);
}
static inline void store(float* p, vec v) {
  std::memcpy(p, &v, sizeof v);
}
static inline void store(bf16* p, vec v) {
  const hvec h = narrow(v);
  std::memcpy(p, &h, sizeof h);
}

#if defined(__AVX512F__)
static inline __mmask16 first_lanes(int64_t n) {
  return __mmask16((1u << n) - 1);
}
static inline vec load_n(const float* p, int64_t n, float fill = 0) {
  return (vec)_mm512_mask_loadu_ps((__m512)splat(fill), first_lanes(n), p);
}
static inline void store_n(float* p, vec v, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)v);
}
static inline vec load_n(const bf16* p, int64_t n, float fill = 0) {
  const __m256i h = _mm256_maskz_loadu_epi16(first_lanes(n), p);
  return (vec)_mm512_mask_mov_ps((__m512)splat(fill), first_lanes(n), (__m512)widen((hvec)h));
}
static inline void store_n(bf16* p, vec v, int64_t n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), (__m256i)narrow(v));
}
#else
#if defined(__AVX2__)
static inline __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vec load_n(const float* p, int64_t n, float fill = 0) {
  const __m256i lanes = first_lanes(n);
  return (vec)_mm256_blendv_ps((__m256)splat(fill), _mm256_maskload_ps(p, lanes), _mm256_castsi256_ps(lanes));
}
static inline void store_n(float* p, vec v, int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), (__m256)v);
}
#else
static inline vec load_n(const float* p, int64_t n, float fill = 0) {
  vec v = splat(fill);
  for (int i = 0; i < kLanes; ++i)
    if (i < n) v[i] = p[i];
  return v;
}
static inline void store_n(float* p, vec v, int64_t n) {
  for (int i = 0; i < kLanes; ++i)
    if (i < n) p[i] = v[i];
}
#endif
static inline vec load_n(const bf16* p, int64_t n, float fill = 0) {
  bf16 h[kLanes] = {};
  for (int i = 0; i < kLanes; ++i)
    if (i < n) h[i] = p[i];
  return lane_indices() < int32_t(n) - ivec{} ? load(h) : splat(fill);
}
static inline void store_n(bf16* p, vec v, int64_t n) {
  bf16 h[kLanes];
  store(h, v);
  for (int i = 0; i < kLanes; ++i)
    if (i < n) p[i] = h[i];
}
#endif

static inline vec load_n(const int8_t* p, int64_t n) {
  int8_t b[kLanes] = {};
  for (int i = 0; i < kLanes; ++i)
    if (i < n) b[i] = p[i];
  return load(b);
}

// Single elements.
static inline float value(float x) {
  return x;
}
static inline float value(bf16 x) {
  return to_float(x);
}
static inline void set(float& to, float x) {
  to = x;
}
static inline void set(bf16& to, float x) {
  to = to_bf16(x);
}

static inline vec max(vec a, vec b) {
  return a > b ? a : b;
}
static inline vec min(vec a, vec b) {
  return a < b ? a : b;
}

// Lane i of the result is lane index(i) of a, or lane index(i) - kLanes of b.
template <class Index, int... i>
static inline vec shuffle_lanes(vec a, vec b, Index index, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, index(i)...);
}
template <class Index>
static inline vec shuffle(vec a, vec b, Index index) {
  return shuffle_lanes(a, b, index, std::make_integer_sequence<int, kLanes>{});
}

// Combines lane i with lane i + half: a fixed tree, the same in sum and max_of.
template <int half = kLanes / 2>
static inline float sum(vec v) {
  if constexpr (half == 0)
    return v[0];
  else
    return sum<half / 2>(v + shuffle(
                                 v, v, [](int i) constexpr { return (i + half) % kLanes; }));
}
template <int half = kLanes / 2>
static inline float max_of(vec v) {
  if constexpr (half == 0)
    return v[0];
  else
    return max_of<half / 2>(max(v, shuffle(
                                       v, v, [](int i) constexpr { return (i + half) % kLanes; })));
}

// x[i][j] becomes x[j][i], in registers: in the step of s, rows i and i + s exchange their off-diagonal blocks of s
// lanes.
template <int s = kLanes / 2>
static inline void transpose(vec (&r)[kLanes]) {
  HEED_UNROLL
  for (int i = 0; i < kLanes; ++i) {
    if ((i & s) != 0) continue;
    const vec a = r[i], b = r[i + s];
    r[i] = shuffle(
        a, b, [](int lane) constexpr { return (lane & s) != 0 ? lane - s + kLanes : lane; });
    r[i + s] = shuffle(
        a, b, [](int lane) constexpr { return (lane & s) != 0 ? lane + kLanes : lane + s; });
  }
  if constexpr (s > 1) transpose<s / 2>(r);
}

}  // namespace heed::cpu::HEED_LEVEL
