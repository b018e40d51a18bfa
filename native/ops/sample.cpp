#include "native/ops/sample.h"

#include "native/ops/check.h"

namespace heed::op {

void Sample::check() const {
  require_vocab(vocab, logits);
  require_ints("tokens", tokens, logits.rows);
  require_shape("logprobs", logprobs, logits.rows);
  require_ints("seeds", seeds, logits.rows, 2);
  require_ints("counters", counters, logits.rows, 2);
  require_shape("temperatures", temperatures, logits.rows);
  require_ints("top_k", top_k, logits.rows);
  require_shape("top_p", top_p, logits.rows);
}

}  // namespace heed::op
