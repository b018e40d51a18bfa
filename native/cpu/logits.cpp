// Cross-entropy and log-probabilities.
#include "native/cpu/level.h"
#include "native/cpu/softmax.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::CrossEntropyLoss& op) {
  const int64_t padded = op.logits.cols;
  with_type(op.logits, [&](auto* logits) {
    for_rows(context, op.logits.rows, padded, [&](int64_t r) {
      auto* const z = logits + r * padded;
      const int32_t target = ints(op.targets)[r];
      const float z_target = value(z[target]);
      const Softmax s = softmax(z, op.vocab, 1.0f);
      floats(op.row_loss)[r] = -s.logprob(z_target);
      // d(-log p_t)/dz_v = p_v - [v == t]
      const float scale = float(op.scale / s.sum);
      for_vectors(op.vocab, [&](int64_t i, int64_t n) { put(z + i, exp(s.scaled(get(z + i, n))) * scale, n); });
      set(z[target], exp(s.scaled(z_target)) * scale - op.scale);
      for (int64_t v = op.vocab; v < padded; ++v) set(z[v], 0.0f);
    });
  });
}

void run(Context& context, const op::TokenLogprobs& op) {
  const int64_t padded = op.logits.cols;
  with_type(op.logits, [&](const auto* logits) {
    for_rows(context, op.logits.rows, padded, [&](int64_t r) {
      const auto* const z = logits + r * padded;
      const Softmax s = softmax(z, op.vocab, op.temperature);
      floats(op.logprobs)[r] = s.logprob(value(z[ints(op.targets)[r]]));
      if (op.entropy.rows > 0) floats(op.entropy)[r] = s.entropy;
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
