// Runs forward and backward of all passes of a batch, for losses on logits and on scores.
#pragma once

#include <algorithm>

#include "native/train/trainer.h"

namespace heed {

template <class Work>
void Trainer::adding_gradients(Work work) {
  require(!undefined_, "a loss failed, so the gradients are undefined: call zero() first");
  work();
  undefined_ = false;
}

template <class Loss>
void Trainer::language_loss(const HostBatch& host, const DropoutKey& dropout, int64_t num_stats, float* stats,
                            Loss loss) {
  const ModelConfig& c = model_->config();
  require(c.head == Head::kLanguage, "this loss needs a language model, but this model has a scalar head");
  Engine& engine = *model_->engine();
  const auto parts = host.split(c, engine.max_tokens(), true);
  const int64_t chunk = engine.backend().logits_rows(c.padded_vocab());
  adding_gradients([&] {
    for (const HostBatch::Pass& part : parts) {
      if (part.num_rows() == 0) continue;
      engine.run([&](Backend& b, Arena& arena) {
        if (!b.measuring()) undefined_ = true;
        const Batch batch = upload(b, arena, host, part);
        const PassContext pass{b, arena, *model_, batch, dropout, options_.gradient_checkpointing};
        const TrunkActs acts = trunk_forward(pass, true);
        const Tensor dtrunk = pass.activation(pass.tokens(), c.channels);
        b.zero(dtrunk);
        const Tensor row_stats = pass.statistic(part.num_rows(), num_stats);
        for (int64_t r = 0; r < part.num_rows(); r += chunk) {
          const Arena::Scope scope(arena);
          const int64_t n = std::min(chunk, part.num_rows() - r);
          const Tensor rows = batch.rows.slice(r, n);
          const HeadRows head = language_head_forward(pass, acts.out(), rows, true);
          loss(b, arena, batch.targets.slice(r, n), head.out, row_stats.slice(r, n), part.row_begin + r);
          language_head_backward(pass, grads_.params, head, head.out, rows, dtrunk);
        }
        b.download(stats + part.row_begin * num_stats, row_stats);
        trunk_backward(pass, grads_.params, acts, dtrunk);
      });
    }
  });
}

template <class Loss>
void Trainer::scalar_loss(const HostBatch& host, const std::vector<HostBatch::Pass>& parts, Loss loss) {
  Engine& engine = *model_->engine();
  adding_gradients([&] {
    for (const HostBatch::Pass& part : parts) {
      if (part.num_rows() == 0) continue;
      engine.run([&](Backend& b, Arena& arena) {
        if (!b.measuring()) undefined_ = true;
        const Batch batch = upload(b, arena, host, part);
        const PassContext pass{b, arena, *model_, batch, {}, options_.gradient_checkpointing};
        const TrunkActs acts = trunk_forward(pass, true);
        const HeadRows head = scalar_head_forward(pass, acts.out(), batch.rows);
        const Tensor dscores = loss(b, arena, head.out, part);
        const Tensor dtrunk = pass.activation(pass.tokens(), model_->config().channels);
        b.zero(dtrunk);
        scalar_head_backward(pass, grads_.params, head, dscores, batch.rows, dtrunk);
        trunk_backward(pass, grads_.params, acts, dtrunk);
      });
    }
  });
}

}  // namespace heed
