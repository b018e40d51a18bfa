// One vector register of floats, in GCC and Clang's vector extensions: 16 lanes with AVX-512, 8 with AVX2, 4 elsewhere. Wider types
// than the machine's would live in memory (GCC 12: ten times slower). Sums therefore differ in rounding from level to level, never
// within one. Loads and stores are unaligned; `_n` forms touch the first n elements only (0 ≤ n ≤ kLanes), the rest reads as `fill`.
#pragma once

#include <cstdint>
#include <cstring>

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
static inline void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }
static inline vec splat(float x) { return x - vec{}; }

static inline vec load_n(const float* p, int64_t n, float fill = 0) {
  alignas(64) float t[kLanes];
  for (int i = 0; i < kLanes; ++i) t[i] = fill;
  for (int64_t i = 0; i < n; ++i) t[i] = p[i];
  return load(t);
}
static inline void store_n(float* p, vec v, int64_t n) {
  alignas(64) float t[kLanes];
  store(t, v);
  for (int64_t i = 0; i < n; ++i) p[i] = t[i];
}

static inline vec max(vec a, vec b) { return a > b ? a : b; }
static inline vec min(vec a, vec b) { return a < b ? a : b; }

// In a fixed tree: the upper half onto the lower, and so on.
static inline float sum(vec v) {
  float t[kLanes];
  std::memcpy(t, &v, sizeof t);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) t[i] += t[i + half];
  return t[0];
}
static inline float max_of(vec v) {
  float t[kLanes];
  std::memcpy(t, &v, sizeof t);
  for (int i = 1; i < kLanes; ++i) t[0] = t[i] > t[0] ? t[i] : t[0];
  return t[0];
}

}  // namespace heed::cpu::HEED_LEVEL
