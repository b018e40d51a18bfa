#include "native/ops/logits.h"

#include "native/ops/check.h"

namespace heed::op {

void CrossEntropyLoss::check() const {
  require_vocab(vocab, logits);
  require_shape("row_loss", row_loss, logits.rows);
  require_ints("targets", targets, logits.rows);
  require_finite("scale", scale);
}

void TokenLogprobs::check() const {
  require_vocab(vocab, logits);
  require_shape("logprobs", logprobs, logits.rows);
  require_optional("entropy", entropy, logits.rows);
  require_ints("targets", targets, logits.rows);
  require_temperature(temperature);
}

}  // namespace heed::op
