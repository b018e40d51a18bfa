// The reward model's loss (Ouyang et al. 2022, eq. 1), in f32.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// Columns of PairwiseLoss::group_stats.
enum PairwiseStat { kPairLoss, kPairs, kPairsCorrect, kNumPairwiseStats };

// Over all pairs (w, l) of a group with ranks[w] < ranks[l]; pairs of equal rank are not compared:
//   loss = scale · Σ_groups (1 / pairs) Σ_(w,l) -log σ(scores[w] - scores[l])
// A group without pairs to compare adds nothing.
struct PairwiseLoss {
  Out dscores;      // (R)
  Out group_stats;  // (G, kNumPairwiseStats): mean loss over the group's pairs; number of compared pairs; number
                    // ordered correctly (½ for equal scores)
  In scores;        // (R)
  In ranks;         // (R) i32, 0 is best
  In cu_groups;     // (G + 1) i32: where each group starts in scores
  float scale;      // 1 / (groups with a pair in the whole optimizer step)
  void check() const;
};

}  // namespace heed::op
