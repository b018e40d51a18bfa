// The log-softmax of one row of logits, for every op that needs one: the same logits and temperature give the same bits
// in CrossEntropyLoss, TokenLogprobs, PpoPolicyLoss and Sample.
#pragma once

#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"

namespace heed::cpu::HEED_LEVEL {

// With d_v = (z_v - max) / T:   log p_v = d_v - log_sum,   p_v = e^d_v / sum
struct Softmax {
  float max;
  float inverse_temperature;
  float log_sum;  // log Σ_v e^d_v
  float entropy;  // nats
  double sum;

  vec scaled(vec z) const { return (z - max) * inverse_temperature; }
  float scaled(float z) const { return (z - max) * inverse_temperature; }
  float logprob(float z) const { return scaled(z) - log_sum; }
};

// For e^d · d, which the entropy needs: 0 for a logit of -inf.
static inline vec bounded(vec d) {
  return max(splat(-100.0f), d);
}

// One pass over memory: in blocks that stay in the first-level cache, each block's maximum, then its sums, which join
// the total rescaled to the largest maximum so far. A NaN makes both sums NaN, whatever the maxima are.
static inline Softmax softmax(const float* z, int64_t vocab, float temperature) {
  constexpr int64_t kBlock = 4096;
  Softmax s{-__FLT_MAX__, 1.0f / temperature, 0, 0, 0};
  double total = 0, total_d = 0;  // Σ e^d, Σ e^d d
  for (int64_t begin = 0; begin < vocab; begin += kBlock) {
    const float* block = z + begin;
    const int64_t size = smaller(kBlock, vocab - begin), whole = size / (4 * kLanes) * (4 * kLanes);
    vec m[4] = {splat(s.max), splat(s.max), splat(s.max), splat(s.max)};
    for (int64_t i = 0; i < whole; i += 4 * kLanes)
      for (int k = 0; k < 4; ++k) m[k] = max(m[k], load(block + i + k * kLanes));
    for (int64_t i = whole; i < size; i += kLanes) m[0] = max(m[0], get(block + i, smaller(kLanes, size - i), s.max));
    const float before = s.max;
    s.max = max_of(max(max(m[0], m[1]), max(m[2], m[3])));

    vec e[4] = {}, ed[4] = {};
    for (int64_t i = 0; i < whole; i += 4 * kLanes)
      for (int k = 0; k < 4; ++k) {
        const vec d = s.scaled(load(block + i + k * kLanes)), p = exp(d);
        e[k] += p;
        ed[k] = fma(p, bounded(d), ed[k]);
      }
    for (int64_t i = whole; i < size; i += kLanes) {
      const vec d = s.scaled(get(block + i, smaller(kLanes, size - i), -__builtin_inff())), p = exp(d);
      e[0] += p;
      ed[0] = fma(p, bounded(d), ed[0]);
    }
    const float shift = bounded(splat((before - s.max) * s.inverse_temperature))[0];
    const double scale = exp(shift);
    total_d = (total_d + total * shift) * scale + sum((ed[0] + ed[1]) + (ed[2] + ed[3]));
    total = total * scale + sum((e[0] + e[1]) + (e[2] + e[3]));
  }
  const double log_total = __builtin_log(total);
  s.sum = total;
  s.log_sum = float(log_total);
  s.entropy = float(log_total - total_d / total);
  return s;
}

// Turns every row of logits into a gradient: body(r, z, next). While a row is rewritten in the cache, memory would be
// idle: so tasks take several rows, and the body fetches `next`, the row that follows (at the end of a task the row
// itself), as it goes.
template <class F>
static inline void rewrite_rows(const Context& context, const Tensor& logits, int64_t vocab, F&& body) {
  const int64_t rows = logits.rows, padded = logits.cols, share = rows / (4 * context.threads);
  for_spans(context, rows, share < 1 ? 1 : smaller(share, 1 + 8 * kTaskElements / padded),
            [&](int64_t begin, int64_t end) {
              for (int64_t r = begin; r < end; ++r) {
                float* z = floats(logits) + r * padded;
                body(r, z, r + 1 < end ? z + padded : z);
                for (int64_t v = vocab; v < padded; ++v) z[v] = 0.0f;
              }
            });
}
static inline void fetch(const float* p) {
  __builtin_prefetch(p, 0, 2);
}  // into the second-level cache

}  // namespace heed::cpu::HEED_LEVEL
