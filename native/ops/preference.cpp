#include "native/ops/preference.h"

#include "native/ops/check.h"

namespace heed::op {

void PairwiseLoss::check() const {
  require_shape("scores", scores, scores.rows);
  require_shape("dscores", dscores, scores.rows);
  require_ints("ranks", ranks, scores.rows);
  require_ints("cu_groups", cu_groups, group_stats.rows + 1);
  require_shape("group_stats", group_stats, group_stats.rows, kNumPairwiseStats);
  require_finite("scale", scale);
}

}  // namespace heed::op
