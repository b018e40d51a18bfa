// Forward and backward of every pass of a batch, for losses on logits and losses on scores.
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
void Trainer::language_loss(const HostBatch& host, const DropoutKey& dropout, Loss loss) {
  const ModelConfig& c = model_->config();
  require(c.head == Head::kLanguage, "this loss needs a language model, this one has a scalar head");
  Engine& engine = *model_->engine();
  const auto passes = host.split(c, engine.max_tokens(), true);
  const int64_t chunk = logits_chunk_rows(c);
  adding_gradients([&] {
    for (const HostBatch::Pass& pass : passes) {
      if (pass.num_rows() == 0) continue;
      engine.run([&](Backend& b, Arena& arena) {
        if (!b.measuring()) undefined_ = true;
        const Batch batch = upload(b, arena, host, pass);
        const TrunkActs acts = trunk_forward(engine, b, arena, *model_, batch, dropout, true);
        const Tensor dtrunk = arena.take(DType::f32, pass.num_tokens(), c.channels);
        b.zero(dtrunk);
        for (int64_t r = 0; r < pass.num_rows(); r += chunk) {
          const Arena::Scope scope(arena);
          const int64_t n = std::min(chunk, pass.num_rows() - r);
          const Tensor rows = batch.rows.slice(r, n);
          const HeadRows head = lm_head_forward(b, arena, *model_, acts.out, rows);
          loss(b, arena, batch.targets.slice(r, n), head.logits, pass.row_begin + r);
          lm_head_backward(b, arena, *model_, grads_.params, head, rows, dtrunk);
        }
        trunk_backward(b, arena, *model_, grads_.params, batch, dropout, acts, dtrunk);
      });
    }
  });
}

template <class Loss>
void Trainer::scalar_loss(const HostBatch& host, const std::vector<HostBatch::Pass>& passes, Loss loss) {
  const ModelConfig& c = model_->config();
  Engine& engine = *model_->engine();
  adding_gradients([&] {
    for (const HostBatch::Pass& pass : passes) {
      if (pass.num_rows() == 0) continue;
      engine.run([&](Backend& b, Arena& arena) {
        if (!b.measuring()) undefined_ = true;
        const Batch batch = upload(b, arena, host, pass);
        const TrunkActs acts = trunk_forward(engine, b, arena, *model_, batch, {}, true);
        const Tensor hidden = arena.take(DType::f32, pass.num_rows(), c.channels);
        b.run(op::GatherRows{.out = hidden, .x = acts.out, .rows = batch.rows});
        const Tensor scores = scalar_head_forward(b, arena, *model_, hidden);
        const Tensor dscores = loss(b, arena, scores, pass);
        const Tensor dtrunk = arena.take(DType::f32, pass.num_tokens(), c.channels);
        b.zero(dtrunk);
        scalar_head_backward(b, arena, *model_, grads_.params, hidden, dscores, batch.rows, dtrunk);
        trunk_backward(b, arena, *model_, grads_.params, batch, {}, acts, dtrunk);
      });
    }
  });
}

}  // namespace heed
