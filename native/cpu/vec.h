// One vector register of floats, in GCC and Clang's vector extensions: 16 lanes with AVX-512, 8 with AVX2, 4 elsewhere.
// Wider types than the machine's would live in memory (GCC 12: ten times slower). Sums therefore differ in rounding
// from level to level, never within one. Loads and stores are unaligned; `_n` forms touch the first n elements only (0
// ≤ n ≤ kLanes), the rest reads as `fill`.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "native/cpu/level.h"

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

static inline vec load(const float* p) {
  vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
static inline void store(float* p, vec v) {
  std::memcpy(p, &v, sizeof v);
}
static inline vec splat(float x) {
  return x - vec{};
}

#if defined(__AVX512F__)
static inline __mmask16 first_lanes(int64_t n) {
  return __mmask16((1u << n) - 1);
}
static inline vec load_n(const float* p, int64_t n, float fill = 0) {
  return _mm512_mask_loadu_ps(splat(fill), first_lanes(n), p);
}
static inline void store_n(float* p, vec v, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), v);
}
#elif defined(__AVX2__)
static inline __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vec load_n(const float* p, int64_t n, float fill = 0) {
  const __m256i lanes = first_lanes(n);
  return _mm256_blendv_ps(splat(fill), _mm256_maskload_ps(p, lanes), _mm256_castsi256_ps(lanes));
}
static inline void store_n(float* p, vec v, int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), v);
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

static inline ivec lane_indices() {
  ivec v{};
  for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

static inline vec max(vec a, vec b) {
  return a > b ? a : b;
}
static inline vec min(vec a, vec b) {
  return a < b ? a : b;
}

// Lane i meets lane i + half: a fixed tree, the same in sum and max_of.
static inline float sum(vec v) {
  for (int half = kLanes / 2; half > 0; half /= 2) v += __builtin_shuffle(v, lane_indices() + half);
  return v[0];
}
static inline float max_of(vec v) {
  for (int half = kLanes / 2; half > 0; half /= 2) v = max(v, __builtin_shuffle(v, lane_indices() + half));
  return v[0];
}

}  // namespace heed::cpu::HEED_LEVEL
