// The log-softmax of a row of logits, shared by all ops: the same logits and temperature give bit-identical results in
// CrossEntropyLoss, TokenLogprobs, PpoPolicyLoss and Sample.
#pragma once

#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {

// With d_v = (z_v - max) / T:   log p_v = d_v - log_sum,   p_v = e^d_v / sum
struct Softmax {
  float max;
  float inverse_temperature, offset;  // d_v = z_v · inverse_temperature - offset
  float log_sum;                      // log Σ_v e^d_v
  float entropy;                      // nats
  double sum;

  vec scaled(vec z) const { return fma(z, splat(inverse_temperature), splat(-offset)); }
  float scaled(float z) const { return fma(z, inverse_temperature, -offset); }
  float logprob(float z) const { return scaled(z) - log_sum; }
};

// For e^d multiplied by d, for the entropy: avoids -inf and results near the denormal numbers.
// The order of the operands keeps a NaN.
static inline vec bounded(vec d) {
  return max(splat(kLeastExponent), d);
}

// One pass over memory, in blocks that fit the first-level cache: each block's maximum, then its sums, which are added
// to the total after rescaling to the largest maximum so far. The next block is prefetched during the sums. A NaN makes
// both sums NaN, whatever the maxima are.
template <class T>
static inline Softmax softmax(const T* z, int64_t vocab, float temperature) {
  constexpr int64_t kBlock = 4096;
  const float floor = -1e30f;  // instead of -inf, whose first differences would be NaN
  Softmax s{floor, 1.0f / temperature, 0, 0, 0, 0};
  s.offset = floor * s.inverse_temperature;
  double total = 0, total_d = 0;  // Σ e^d, Σ e^d d
  for (int64_t begin = 0; begin < vocab; begin += kBlock) {
    const T* block = z + begin;
    const int64_t size = smaller(kBlock, vocab - begin), whole = size / (4 * kLanes) * (4 * kLanes);
    vec m[4] = {splat(s.max), splat(s.max), splat(s.max), splat(s.max)};
    for (int64_t i = 0; i < whole; i += 4 * kLanes)
      for (int k = 0; k < 4; ++k) m[k] = max(m[k], load(block + i + k * kLanes));
    for (int64_t i = whole; i < size; i += kLanes) m[0] = max(m[0], get(block + i, smaller(kLanes, size - i), s.max));
    const float before = s.offset;
    s.max = max_of(max(max(m[0], m[1]), max(m[2], m[3])));
    s.offset = s.max * s.inverse_temperature;

    vec e[4] = {}, ed[4] = {};
    for (int64_t i = 0; i < whole; i += 4 * kLanes)
      for (int k = 0; k < 4; ++k) {
        __builtin_prefetch(block + kBlock + i + k * kLanes, 0, 2);
        const vec d = bounded(s.scaled(load(block + i + k * kLanes))), p = exp_in_range(d);
        e[k] += p;
        ed[k] = fma(p, d, ed[k]);
      }
    for (int64_t i = whole; i < size; i += kLanes) {
      const vec d = bounded(s.scaled(get(block + i, smaller(kLanes, size - i), -__builtin_inff())));
      const vec p = exp_in_range(d);
      e[0] += p;
      ed[0] = fma(p, d, ed[0]);
    }
    const float shift = bounded(splat(before - s.offset))[0];
    const double scale = exp(shift);
    total_d = (total_d + total * shift) * scale + sum((ed[0] + ed[1]) + (ed[2] + ed[3]));
    total = total * scale + sum((e[0] + e[1]) + (e[2] + e[3]));
  }
  const double log_total = math::log(total);
  s.sum = total;
  s.log_sum = float(log_total);
  s.entropy = float(log_total - total_d / total);
  return s;
}

}  // namespace heed::cpu::HEED_LEVEL
