// Drawing a token: the inverse of the cumulative distribution, in the order of token ids, over the tokens that top_k and top_p leave.
#include "native/cpu/level.h"

#include "native/cpu/softmax.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {

namespace {

struct Row {
  const float* z;
  int64_t vocab;
  Softmax softmax;
};

// The tokens still in play: those above the threshold, and of those equal to it the ones with an id below tie_end.
struct Kept {
  float threshold;
  int64_t tie_end;
};

// Probabilities times the softmax's sum, 0 for a token out of play. first is the id of lane 0.
static inline vec masses(const Row& row, Kept kept, vec z, int64_t first) {
  const ivec tied = (z == splat(kept.threshold)) & (lane_indices() < int32_t(kept.tie_end - first) - ivec{});
  return ((z > splat(kept.threshold)) | tied) ? exp(row.softmax.scaled(z)) : vec{};
}
static inline vec logits_at(const Row& row, int64_t i, int64_t n) { return get(row.z + i, n, -__builtin_inff()); }

// Of the tokens in play: what those above the pivot weigh, the least logit above it, and the greatest at or below it.
struct Split {
  double weight;
  float least_above, greatest_below;
};
static Split split(const Row& row, Kept kept, float pivot, bool by_mass) {
  vec weight = {}, least = splat(__builtin_inff()), greatest = splat(-__builtin_inff());
  for_vectors(row.vocab, [&](int64_t i, int64_t n) {
    const vec z = logits_at(row, i, n), mass = masses(row, kept, z, i);
    const ivec in_play = mass > vec{}, above = in_play & (z > splat(pivot));
    weight += above ? (by_mass ? mass : splat(1.0f)) : vec{};
    least = min(least, above ? z : splat(__builtin_inff()));
    greatest = max(greatest, in_play & ~above ? z : splat(-__builtin_inff()));
  });
  return {sum(weight), -max_of(-least), max_of(greatest)};
}

// The fewest of the most likely tokens in play that weigh at least `target`, one at least. Bisects between logits that occur:
// lo and those above it weigh enough, those above hi do not, and each step drops a logit from between.
static Kept heaviest(const Row& row, Kept kept, double target, bool by_mass) {
  float lo = split(row, kept, -__builtin_inff(), by_mass).least_above, hi = row.softmax.max;
  double above_hi = 0;
  while (lo < hi) {
    const float middle = lo + 0.5f * (hi - lo), pivot = middle < hi ? middle : lo;
    const Split s = split(row, kept, pivot, by_mass);
    if (s.weight >= target) {
      lo = s.least_above;
    } else {
      hi = s.greatest_below;
      above_hi = s.weight;
    }
  }
  Kept result{lo, 0};
  const double mass = by_mass ? exp((lo - row.softmax.max) * row.softmax.inverse_temperature) : 1.0;
  double weight = above_hi;
  const int64_t end = lo == kept.threshold ? kept.tie_end : row.vocab;
  for (int64_t v = 0; v < end && (result.tie_end == 0 || weight < target); ++v)
    if (row.z[v] == lo) {
      weight += mass;
      result.tie_end = v + 1;
    }
  return result;
}

static int32_t draw(const Row& row, Kept kept, double uniform) {
  // Partial sums first, so that the token is looked for in one part only.
  constexpr int64_t kMaxParts = 1024;
  const int64_t span = ceil_div(ceil_div(row.vocab, kMaxParts), kLanes) * kLanes, parts = ceil_div(row.vocab, span);
  float part[kMaxParts];
  double total = 0;
  for (int64_t p = 0; p < parts; ++p) {
    vec mass = {};
    const int64_t begin = p * span;
    for_vectors(smaller(span, row.vocab - begin), [&](int64_t i, int64_t n) {
      mass += masses(row, kept, logits_at(row, begin + i, n), begin + i);
    });
    part[p] = sum(mass);
    total += part[p];
  }
  const double point = uniform * total;  // < total, so some part reaches beyond it
  double before = 0;
  int64_t p = 0;
  while (p < parts - 1 && !(before + part[p] > point)) before += part[p++];

  int32_t token = 0;  // where a NaN leaves nothing to draw from; the log-probability tells
  for (int64_t v = p * span; v < smaller(row.vocab, (p + 1) * span) && !(before > point); ++v) {
    const float mass = masses(row, kept, splat(row.z[v]), v)[0];
    if (!(mass > 0)) continue;
    token = int32_t(v);
    before += mass;
  }
  return token;
}

static int32_t most_likely(const Row& row) {
  for (int64_t v = 0; v < row.vocab; ++v)
    if (row.z[v] == row.softmax.max) return int32_t(v);
  return 0;
}

}  // namespace

void run(Context& context, const op::Sample& op) {
  const int64_t padded = op.logits.cols;
  for_rows(context, op.logits.rows, padded, [&](int64_t b) {
    const float* z = floats(op.logits) + b * padded;
    const bool greedy = op.temperature == 0;
    const Row row{z, op.vocab, softmax(z, op.vocab, greedy ? 1.0f : op.temperature)};
    int32_t token;
    if (greedy) {
      token = most_likely(row);
    } else {
      Kept kept{-__builtin_inff(), 0};
      if (row.softmax.sum > 0) {
        if (op.top_k > 0 && op.top_k < op.vocab) kept = heaviest(row, kept, double(op.top_k), false);
        if (op.top_p < 1) kept = heaviest(row, kept, op.top_p * split(row, kept, -__builtin_inff(), true).weight, true);
      }
      token = draw(row, kept, math::sample_uniform(ints(op.seeds) + 2 * b, ints(op.counters) + 2 * b));
    }
    ints(op.tokens)[b] = token;
    floats(op.logprobs)[b] = row.softmax.logprob(z[token]);
  });
}

}  // namespace heed::cpu::HEED_LEVEL
