// The pairwise ranking loss.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {
namespace {

inline float log_sigmoid(float x) {
  return math::log_sigmoid(x, exp(-__builtin_fabsf(x)));
}
inline float log_sigmoid_grad(float x) {
  return math::log_sigmoid_grad(x, exp(-__builtin_fabsf(x)));
}

}  // namespace

void run(Context& context, const op::PairwiseLoss& op) {
  const float* scores = floats(op.scores);
  const int32_t *ranks = ints(op.ranks), *starts = ints(op.cu_groups);
  for_spans(context, op.cu_groups.rows - 1, 16, [&](int64_t first, int64_t last) {
    for (int64_t group = first; group < last; ++group) {
      const int32_t begin = starts[group], end = starts[group + 1];
      double loss = 0, correct = 0;
      int64_t pairs = 0;
      for (int32_t w = begin; w < end; ++w)
        for (int32_t l = begin; l < end; ++l) {
          if (ranks[w] >= ranks[l]) continue;
          ++pairs;
          loss -= log_sigmoid(scores[w] - scores[l]);
          correct += scores[w] > scores[l] ? 1.0 : scores[w] == scores[l] ? 0.5 : 0.0;
        }
      const double inverse = pairs > 0 ? 1.0 / double(pairs) : 0.0;
      float* stats = floats(op.group_stats) + group * op::kNumPairwiseStats;
      stats[op::kPairLoss] = float(loss * inverse);
      stats[op::kPairs] = float(pairs);
      stats[op::kPairsCorrect] = float(correct);

      // d(-log σ(s_w - s_l)) = σ(s_l - s_w) (ds_l - ds_w)
      for (int32_t i = begin; i < end; ++i) {
        double gradient = 0;
        for (int32_t j = begin; j < end; ++j) {
          if (ranks[i] < ranks[j]) gradient -= log_sigmoid_grad(scores[i] - scores[j]);
          if (ranks[j] < ranks[i]) gradient += log_sigmoid_grad(scores[j] - scores[i]);
        }
        floats(op.dscores)[i] = float(gradient * inverse * op.scale);
      }
    }
  });
}

}  // namespace heed::cpu::HEED_LEVEL
