// Exponential and sigmoid of a vector of floats: branch-free, so a lane's result depends on its own value alone, and a
// scalar call has the bits of a lane.
#pragma once

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#endif

#include "native/cpu/vec.h"

namespace heed::cpu::HEED_LEVEL {

// a · b + c, rounded once where the level has the instruction.
static inline vec fma(vec a, vec b, vec c) {
#if defined(__AVX512F__)
  return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
  return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

// The scalar twin of the above.
static inline float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// e^x with a relative error below 1e-7. exp(0) is exactly 1, exp(NaN) is NaN, above 88.72 it is +inf, and below
// kLeastExponent, where denormal results are near, it is 0.
//
// x = n ln 2 + r with |r| ≤ ln 2 / 2, and e^x = 2^n e^r; ln 2 is split in two so that n ln 2 is subtracted almost
// exactly. The polynomial is that of Cephes' expf.
constexpr float kLeastExponent = -86.9f;
static inline vec exp(vec x) {
  constexpr float kLog2e = 1.44269504088896341f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
#if defined(__AVX512F__)
  const vec bounded = (vec)_mm512_maskz_min_ps(0xffff, _mm512_set1_ps(89.0f), (__m512)x);  // in this order a NaN stays
  const vec n = (vec)_mm512_maskz_roundscale_ps(0xffff, (__m512)(bounded * kLog2e),
                                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  // Adding 1.5 · 2^23 leaves no room for a fraction: the sum is rounded to an integer, which is then in its low bits.
  const vec bounded = x, shifted = fma(x, splat(kLog2e), splat(12582912.0f));
  const vec n = shifted - 12582912.0f;
#endif
  vec r = fma(n, splat(-kLn2High), bounded);
  r = fma(n, splat(-kLn2Low), r);
  vec p = fma(splat(1.9875691500e-4f), r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r) + 1.0f;
#if defined(__AVX512F__)
  const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(kLeastExponent), _CMP_NLT_UQ);  // a NaN passes
  return (vec)_mm512_maskz_scalef_ps(normal, (__m512)p, (__m512)n);
#else
  // 2^(n-1) · 2p, since 2^128 is no float. At both ends n is out of range and what is computed is not used.
  const ivec power = ((ivec)shifted + 126) << 23;
  const vec e = (p + p) * (vec)power;
  return x > 88.7228394f ? splat(__builtin_inff()) : x < kLeastExponent ? vec{} : e;
#endif
}
static inline float exp(float x) {
  return exp(splat(x))[0];
}

// 1 / (1 + e^-x)
static inline vec sigmoid(vec x) {
  return 1.0f / (1.0f + exp(-x));
}
static inline float sigmoid(float x) {
  return sigmoid(splat(x))[0];
}

}  // namespace heed::cpu::HEED_LEVEL
