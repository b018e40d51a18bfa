// Sampling a token: inverts the cumulative distribution, in the order of token ids, over the tokens that top_k and
// top_p keep.
#include "native/cpu/level.h"
#include "native/cpu/softmax.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {

namespace {

template <class T>
struct Row {
  const T* z;
  int64_t vocab;
  Softmax softmax;
};

// The remaining tokens: those above the threshold, and of those equal to it the ones with an id below tie_end.
struct Kept {
  float threshold;
  int64_t tie_end;
};

static inline ivec in_play(Kept kept, vec z, int64_t first) {  // first: the id of lane 0
  return (z > splat(kept.threshold)) |
         ((z == splat(kept.threshold)) & (lane_indices() < int32_t(kept.tie_end - first) - ivec{}));
}
// Probabilities times the softmax's sum, 0 for a token that was removed.
template <class T>
static inline vec masses(const Row<T>& row, Kept kept, vec z, int64_t first) {
  return in_play(kept, z, first) ? exp(row.softmax.scaled(z)) : vec{};
}
template <class T>
static inline vec logits_at(const Row<T>& row, int64_t i, int64_t n) {
  return get(row.z + i, n, -__builtin_inff());
}

// Writes the lanes to keep, in order, and returns their number; overwrites memory after them up to a complete vector.
static inline int64_t append(float* out, vec v, ivec keep) {
#if defined(__AVX512F__)
  const __mmask16 mask = _mm512_test_epi32_mask((__m512i)keep, (__m512i)keep);
  store(out, (vec)_mm512_maskz_compress_ps(mask, (__m512)v));
  return __builtin_popcount(mask);
#else
  int64_t count = 0;
  for (int i = 0; i < kLanes; ++i) {
    out[count] = v[i];
    count -= keep[i];
  }
  return count;
#endif
}

// Weight of the values above the pivot: their number, or their mass.
template <class T>
static double weight_above(const Row<T>& row, const float* values, int64_t count, float pivot, bool by_mass) {
  vec weight = {};
  for_vectors(count, [&](int64_t i, int64_t n) {
    const vec z = get(values + i, n, -__builtin_inff());
    weight += z > splat(pivot) ? (by_mass ? exp(row.softmax.scaled(z)) : splat(1.0f)) : vec{};
  });
  return sum(weight);
}

// The smallest set of most likely remaining tokens with the fraction `share` of their mass, or `share` in number; at
// least one. The logits are split at a pivot between the smallest and the largest, and the side without the threshold
// is dropped, until only equal ones are left.
template <class T>
static Kept heaviest(const Row<T>& row, Kept kept, double share, bool by_mass, float* values) {
  int64_t count = 0;
  for_vectors(row.vocab, [&](int64_t i, int64_t n) {
    const vec z = logits_at(row, i, n);
    count += append(values + count, z, in_play(kept, z, i) & (row.softmax.scaled(z) >= splat(kLeastExponent)));
  });
  const double target = by_mass ? share * weight_above(row, values, count, -__builtin_inff(), true) : share;
  double above = 0;  // weight of the dropped tokens above the threshold
  for (;;) {
    vec least = splat(values[0]), greatest = least;
    for_vectors(count, [&](int64_t i, int64_t n) {
      const vec z = get(values + i, n, values[0]);
      least = min(least, z);
      greatest = max(greatest, z);
    });
    const float lo = -max_of(-least), hi = max_of(greatest);
    if (lo == hi) break;
    const float middle = lo + 0.5f * (hi - lo), pivot = middle < hi ? middle : lo;
    const double weight = above + weight_above(row, values, count, pivot, by_mass);
    const bool keep_above = weight >= target;
    if (!keep_above) above = weight;
    int64_t left = 0;
    for_vectors(count, [&](int64_t i, int64_t n) {
      const vec z = get(values + i, n);
      const ivec keep = keep_above ? z > splat(pivot) : z <= splat(pivot);
      left += append(values + left, z, keep & (lane_indices() < int32_t(n) - ivec{}));
    });
    count = left;
  }
  Kept result{values[0], 0};
  const double mass = by_mass ? exp(row.softmax.scaled(result.threshold)) : 1.0;
  const int64_t end = result.threshold == kept.threshold ? kept.tie_end : row.vocab;
  for (int64_t v = 0; v < end && (result.tie_end == 0 || above < target); ++v)
    if (value(row.z[v]) == result.threshold) {
      above += mass;
      result.tie_end = v + 1;
    }
  return result;
}

template <class T>
static int32_t draw(const Row<T>& row, Kept kept, double uniform) {
  // Partial sums first, so that the token is searched in one part only.
  constexpr int64_t kMaxParts = 1024;
  const int64_t span = ceil_div(ceil_div(row.vocab, kMaxParts), kLanes) * kLanes, parts = ceil_div(row.vocab, span);
  float part[kMaxParts];
  double total = 0;
  for (int64_t p = 0; p < parts; ++p) {
    vec mass = {};
    const int64_t begin = p * span;
    for_vectors(smaller(span, row.vocab - begin),
                [&](int64_t i, int64_t n) { mass += masses(row, kept, logits_at(row, begin + i, n), begin + i); });
    part[p] = sum(mass);
    total += part[p];
  }
  const double point = uniform * total;  // < total, so some part exceeds it
  double before = 0;
  int64_t p = 0;
  while (p < parts - 1 && !(before + part[p] > point)) before += part[p++];

  int32_t token = 0;  // if a NaN leaves no distribution; the log-probability shows it
  for (int64_t v = p * span; v < smaller(row.vocab, (p + 1) * span) && !(before > point); ++v) {
    const float mass = masses(row, kept, splat(value(row.z[v])), v)[0];
    if (!(mass > 0)) continue;
    token = int32_t(v);
    before += mass;
  }
  return token;
}

template <class T>
static int32_t most_likely(const Row<T>& row) {
  for (int64_t v = 0; v < row.vocab; ++v)
    if (value(row.z[v]) == row.softmax.max) return int32_t(v);
  return 0;
}

}  // namespace

Need need(const Context&, const op::Sample& op) {
  return {.own = op.vocab + kLanes};  // for rows with top_k or top_p
}

void run(Context& context, const op::Sample& op) {
  const int64_t padded = op.logits.cols;
  const Workspace workspace = context.workspace(need(context, op));
  with_type(op.logits, [&](const auto* logits) {
    for_rows(context, op.logits.rows, padded, [&](int64_t b) {
      const auto* const z = logits + b * padded;
      const float temperature = floats(op.temperatures)[b], top_p = floats(op.top_p)[b];
      const int64_t top_k = ints(op.top_k)[b];
      const bool greedy = temperature == 0;
      const Row<std::remove_cvref_t<decltype(*z)>> row{z, op.vocab, softmax(z, op.vocab, greedy ? 1.0f : temperature)};
      int32_t token;
      if (greedy) {
        token = most_likely(row);
      } else {
        Kept kept{-__builtin_inff(), 0};
        if (row.softmax.sum > 0) {
          if (top_k > 0 && top_k < op.vocab) kept = heaviest(row, kept, double(top_k), false, workspace.own());
          if (top_p < 1) kept = heaviest(row, kept, top_p, true, workspace.own());
        }
        token = draw(row, kept, math::sample_uniform(ints(op.seeds) + 2 * b, ints(op.counters) + 2 * b));
      }
      ints(op.tokens)[b] = token;
      floats(op.logprobs)[b] = row.softmax.logprob(value(z[token]));
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
