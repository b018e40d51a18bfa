// Exponentials by arithmetic alone: a library's differ between a device and the CPU that emulates it, and from one
// version to the next.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "native/ops/math.h"

namespace heed::cuda {

constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

// Adding it leaves no room for a fraction: the sum is rounded to an integer, which is then in its low bits.
constexpr float kRounder = 12582912.0f;  // 1.5 · 2^23

// 2^x for x in [-126, 127], relative error below 1e-7; of 0 exactly 1.
//
// x = n + r with |r| ≤ ½, and 2^x = 2^n 2^r. 2^r is 1 + r q(r), q of degree 5 fitted to the least relative error, 2e-9.
struct Exp2 {
  float fraction;  // 2^r
  uint32_t power;  // n, moved to where the exponent of a float is

  __device__ explicit Exp2(float x) {
    const float shifted = x + kRounder, r = x - (shifted - kRounder);
    float p = fmaf(1.5353361947e-4f, r, 1.3398874404e-3f);
    p = fmaf(p, r, 9.6184373574e-3f);
    p = fmaf(p, r, 5.5503324712e-2f);
    p = fmaf(p, r, 2.4022647914e-1f);
    p = fmaf(p, r, 6.9314720286e-1f);
    fraction = fmaf(p, r, 1.0f);
    power = __float_as_uint(shifted) << 23;
  }
};
// Of a NaN a NaN.
__device__ inline float exp2_in_range(float x) {
  const Exp2 e(x);
  return e.fraction * __uint_as_float(e.power + 0x3f800000u);
}
// One instruction less; x is no NaN. Of -127 it is 0, of what lies between below 2^-126.
__device__ inline float exp2_of_number(float x) {
  const Exp2 e(x);
  return __uint_as_float(__float_as_uint(e.fraction) + e.power);
}

// e^x of any x: above 88.72 it is +inf, and below kLeastExponent, where denormal results are near, it is 0.
//
// x = n ln 2 + r with |r| ≤ ln 2 / 2; ln 2 is split in two so that n ln 2 is subtracted almost exactly. e^r is 1 + r +
// r² q(r), q of degree 4 fitted to the least relative error, 3e-9.
constexpr float kLeastExponent = -86.9f;
__device__ inline float exp(float x) {
  const float shifted = fmaf(x, kLog2e, kRounder), n = shifted - kRounder;
  const float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x));
  float p = fmaf(1.3814581325e-3f, r, 8.3687240258e-3f);
  p = fmaf(p, r, 4.1668388993e-2f);
  p = fmaf(p, r, 1.6666521132e-1f);
  p = fmaf(p, r, 4.9999994040e-1f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  const float power = __uint_as_float((__float_as_uint(shifted) << 23) + 0x3f000000u);  // 2^(n-1): 2^128 is no float
  return x > 88.7228394f ? INFINITY : x < kLeastExponent ? 0.0f : (p + p) * power;
}

__device__ inline float tanh(float x) {
  return math::tanh(x, exp(math::tanh_argument(x)));
}

// 1 / (1 + e^-x)
__device__ inline float sigmoid(float x) {
  return 1.0f / (1.0f + exp(-x));
}

}  // namespace heed::cuda
