// Exponential and sigmoid of a vector of floats: branch-free, so a lane's result depends on its value alone, and a
// scalar call is bit-identical to a lane.
#pragma once

#include "native/cpu/vec.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {

// a · b + c, rounded once if the level has the instruction.
static inline vec fma(vec a, vec b, vec c) {
#if defined(__AVX512F__)
  return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
  return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

// The scalar version of the above.
static inline float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// e^x for x in [kLeastExponent, 88], far from both ends of the range of floats; exp_in_range(0) is exactly 1, and
// NaN gives NaN. Relative error below 1e-7.
//
// x = n ln 2 + r with |r| ≤ ln 2 / 2, and e^x = 2^n e^r; ln 2 is split in two so that n ln 2 is subtracted almost
// exactly. e^r is 1 + r + r² q(r), with q of degree 4 fitted for the smallest relative error, 3e-9.
constexpr float kLeastExponent = -86.9f;
static inline vec exp_in_range(vec x) {
  // Adding 1.5 · 2^23 leaves no room for a fraction: the sum is rounded to an integer, which is then in its low bits.
  const vec shifted = fma(x, splat(1.44269504088896341f), splat(12582912.0f)), n = shifted - 12582912.0f;
  vec r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  vec p = fma(splat(1.3814581325e-3f), r, splat(8.3687240258e-3f));
  p = fma(p, r, splat(4.1668388993e-2f));
  p = fma(p, r, splat(1.6666521132e-1f));
  p = fma(p, r, splat(4.9999994040e-1f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
#if defined(__AVX512F__)
  return (vec)_mm512_maskz_scalef_ps(0xffff, (__m512)p, (__m512)n);
#else
  const ivec power = ((ivec)shifted + 126) << 23;  // 2^(n-1) · 2p, since 2^128 is not a float
  return (p + p) * (vec)power;
#endif
}

// e^x of any x: above 88.72 it is +inf, and below kLeastExponent, where denormal results are near, it is 0.
static inline vec exp(vec x) {
#if defined(__AVX512F__)
  const __mmask16 large = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(kLeastExponent), _CMP_NLT_UQ);  // or a NaN
  const __m512 bounded =
      _mm512_maskz_min_ps(0xffff, _mm512_set1_ps(89.0f), (__m512)x);  // this order of operands keeps a NaN
  return (vec)_mm512_maskz_mov_ps(large, (__m512)exp_in_range((vec)bounded));
#else
  return x > 88.7228394f ? splat(__builtin_inff()) : x < kLeastExponent ? vec{} : exp_in_range(x);
#endif
}
static inline float exp(float x) {
  return exp(splat(x))[0];
}

static inline vec tanh(vec x) {
  return math::tanh(x, exp(math::tanh_argument(x)));
}

// 1 / (1 + e^-x)
static inline vec sigmoid(vec x) {
  return 1.0f / (1.0f + exp(-x));
}
static inline float sigmoid(float x) {
  return sigmoid(splat(x))[0];
}

}  // namespace heed::cpu::HEED_LEVEL
