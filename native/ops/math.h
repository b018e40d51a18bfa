// The formulas of one element of each op and their derivatives, shared by the CPU's vectors and CUDA's threads. If a
// formula needs an exponential for every element of a tensor, the caller passes it: each device has its own fast one.
#pragma once

#include <math.h>
#include <string.h>

#include "native/core/rng.h"

namespace heed::math {

// GELU in the tanh form, with ½ (1 + tanh u) = σ(2u), which does not cancel for negative x:
//   gelu(x) = x g,   g = σ(gelu_argument(x)),   gelu_argument(x) = 2 sqrt(2/π) (x + 0.044715 x³)
constexpr float kGeluLinear = 1.5957691216057308f;  // 2 sqrt(2/π)
constexpr float kGeluCubic = 0.07135481627159741f;  // 2 sqrt(2/π) · 0.044715

template <class T>
HEED_HD T gelu_argument(T x) {
  return x * (kGeluLinear + kGeluCubic * (x * x));
}
template <class T>
HEED_HD T gelu(T x, T gate) {
  return x * gate;
}
// dσ(a)/da = σ (1 - σ)
template <class T>
HEED_HD T gelu_grad(T x, T gate) {
  return gate + x * gate * (1.0f - gate) * (kGeluLinear + 3.0f * kGeluCubic * (x * x));
}

// GELU itself: x Φ(x), with the distribution function Φ of the standard normal and e = exp(normal_argument(x)).
// Of z = |x|, Φ(-z) = e t q(t) with t = 1 / (1 + 0.36 z), q of degree 8 fitted for the smallest relative error, 1e-7.
template <class T>
HEED_HD T normal_argument(T x) {
  return -0.5f * (x * x);
}
template <class T>
HEED_HD T normal_cdf(T x, T e) {
  const T t = 1.0f / (1.0f + 0.36f * (x < 0.0f ? -x : x));
  T q = -0.02993658185f * t + 0.1382620633f;
  q = q * t - 0.2214648873f;
  q = q * t + 0.1054059342f;
  q = q * t + 0.0006632571458f;
  q = q * t + 0.0957073867f;
  q = q * t + 0.1240684540f;
  q = q * t + 0.1436765641f;
  q = q * t + 0.1436178535f;
  const T tail = e * t * q;
  return x < 0.0f ? tail : 1.0f - tail;
}
template <class T>
HEED_HD T exact_gelu(T x, T e) {
  return x * normal_cdf(x, e);
}
// dΦ/dx = e / sqrt(2π)
template <class T>
HEED_HD T exact_gelu_grad(T x, T e) {
  return normal_cdf(x, e) + 0.3989422804f * x * e;
}

// tanh x, from e = exp(tanh_argument(x)). Near 0, where 1 - e cancels, by a polynomial (Moshier's tanhf in Cephes).
template <class T>
HEED_HD T tanh_argument(T x) {
  return -2.0f * (x < 0.0f ? -x : x);
}
template <class T>
HEED_HD T tanh(T x, T e) {
  const T z = x * x;
  T p = -5.70498872745e-3f * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const T ratio = (1.0f - e) / (1.0f + e);
  return z < 0.390625f ? p * z * x + x : x < 0.0f ? -ratio : ratio;
}

// silu(x) = x g,   g = σ(x)
template <class T>
HEED_HD T silu(T x, T gate) {
  return x * gate;
}
template <class T>
HEED_HD T silu_grad(T x, T gate) {
  return gate * (1.0f + x * (1.0f - gate));
}

// ln x for x > 0 that is not denormal, with an error below 1e-15, absolute and relative. Uses only arithmetic: the
// results of a library's logarithm depend on its version.
//   x = 2^k m, m in [√½, √2):   ln x = k ln 2 + 2 artanh s,   s = (m - 1) / (m + 1),   |s| < 0.172
HEED_HD double log(double x) {
  if (!(x > 0.0) || x - x != 0.0) return x == 0.0 ? -1.0 / 0.0 : x > 0.0 ? x : 0.0 / 0.0;
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint64_t above = bits + (uint64_t(1023) << 52) - 0x3fe6a09e667f3bcdu;  // √½ as bits
  const int k = int(above >> 52) - 1023;
  bits -= uint64_t(int64_t(k)) << 52;
  double m;
  memcpy(&m, &bits, sizeof m);
  const double s = (m - 1.0) / (m + 1.0), q = s * s, q4 = q * q * q * q;
  const double low = 1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7)));
  const double middle = 1.0 / 9 + q * (1.0 / 11 + q * (1.0 / 13 + q * (1.0 / 15)));
  const double high = 1.0 / 17 + q * (1.0 / 19 + q * (1.0 / 21));
  return double(k) * 0.69314718055994531 + 2.0 * s * (low + q4 * (middle + q4 * high));
}
// ln(1 + x) for x in [0, 1]
HEED_HD double log1p(double x) {
  return x < 1e-5 ? x - x * x * (0.5 - x / 3.0) : log(1.0 + x);
}

// log σ(x), without overflow at either end, from e = exp(-|x|).
HEED_HD float log_sigmoid(float x, float e) {
  return (x < 0.0f ? x : 0.0f) - float(log1p(double(e)));
}
// d log σ(x) / dx = σ(-x)
HEED_HD float log_sigmoid_grad(float x, float e) {
  return (x < 0.0f ? 1.0f : e) / (1.0f + e);
}

// As a function of ratio = exp(logprob - old_logprob).
struct PpoToken {
  float loss;      // before entropy and scale
  float dlogprob;  // d loss / d logprob
  float ratio;
  float clipped;  // 1 where the clipped branch is the loss
};
// Comparisons are written so that a NaN propagates to loss and dlogprob.
HEED_HD PpoToken ppo_token(float ratio, float advantage, float clip_range, float dual_clip) {
  const float low = 1.0f - clip_range, high = 1.0f + clip_range;
  const float bounded = ratio < low ? low : ratio > high ? high : ratio;
  const float unclipped = -advantage * ratio, clipped = -advantage * bounded;
  PpoToken token{unclipped, unclipped, ratio, 0.0f};  // d(-A e^x)/dx = -A e^x
  if (clipped > unclipped) token = {clipped, 0.0f, ratio, 1.0f};
  if (dual_clip > 0.0f && advantage < 0.0f && token.loss > -dual_clip * advantage)
    token = {-dual_clip * advantage, 0.0f, ratio, 1.0f};
  return token;
}

struct ValueToken {
  float loss;
  float dvalue;   // d loss / d value
  float clipped;  // 1 where the clipped branch is the loss
};
HEED_HD ValueToken value_token(float value, float old_value, float target, float clip_range) {
  const float change = value - old_value;
  // Inside the range the value itself, since old + (value - old) may round differently.
  const float bounded = change < -clip_range  ? old_value - clip_range
                        : change > clip_range ? old_value + clip_range
                                              : value;
  const float error = value - target, bounded_error = bounded - target;
  if (bounded_error * bounded_error > error * error) return {0.5f * bounded_error * bounded_error, 0.0f, 1.0f};
  return {0.5f * error * error, error, 0.0f};
}

struct AdamWStep {
  float learning_rate, beta1, beta2, eps, weight_decay;
  float inverse_correction1, inverse_correction2;  // 1 / (1 - β^t)
  float grad_scale;
};
HEED_HD void adamw_element(float& weight, float& m, float& v, float grad, const AdamWStep& s) {
  const float g = grad * s.grad_scale;
  m = s.beta1 * m + (1.0f - s.beta1) * g;
  v = s.beta2 * v + (1.0f - s.beta2) * (g * g);
  const float update = m * s.inverse_correction1 / (sqrtf(v * s.inverse_correction2) + s.eps);
  weight -= s.learning_rate * (update + s.weight_decay * weight);
}

// Four dropout decisions: columns 4·quad .. 4·quad + 3 of a row.
HEED_HD rng::Bits dropout_bits(uint64_t seed, uint32_t site, int64_t row, int64_t quad) {
  return rng::philox(seed, uint64_t(row), uint64_t(quad) | uint64_t(site) << 32);
}
HEED_HD float dropout(float x, uint32_t bits, float rate, float inverse_keep) {
  return rng::uniform(bits) < rate ? 0.0f : x * inverse_keep;
}

// The uniform number in [0, 1) that selects a token: 53 bits, so that the tail of a large vocabulary has its exact
// probability.
HEED_HD double sample_uniform(const int32_t seed[2], const int32_t counter[2]) {
  const rng::Bits bits = rng::philox(uint64_t(uint32_t(seed[0])) | uint64_t(uint32_t(seed[1])) << 32,
                                     uint64_t(uint32_t(counter[0])) | uint64_t(uint32_t(counter[1])) << 32, 0);
  return double(uint64_t(bits.x[0]) << 21 | bits.x[1] >> 11) * 0x1p-53;
}

}  // namespace heed::math
