#include "native/ops/ppo.h"

#include "native/ops/check.h"

namespace heed::op {

void PpoPolicyLoss::check() const {
  require_vocab(vocab, logits);
  require_shape("row_stats", row_stats, logits.rows, kNumPolicyStats);
  require_ints("targets", targets, logits.rows);
  require_shape("old_logprobs", old_logprobs, logits.rows);
  require_shape("advantages", advantages, logits.rows);
  require(clip_range > 0, "clip_range must be positive, got ", clip_range);
  require(dual_clip == 0 || dual_clip > 1, "dual_clip must be above 1, or 0 for none, got ", dual_clip);
  require_finite("entropy_coef", entropy_coef);
  require_temperature(temperature);
  require_finite("scale", scale);
}

void PpoValueLoss::check() const {
  require_shape("values", values, values.rows);
  require_shape("dvalues", dvalues, values.rows);
  require_shape("row_stats", row_stats, values.rows, kNumValueStats);
  require_shape("old_values", old_values, values.rows);
  require_shape("returns", returns, values.rows);
  require(clip_range > 0, "clip_range must be positive, got ", clip_range);
  require_finite("scale", scale);
}

}  // namespace heed::op
