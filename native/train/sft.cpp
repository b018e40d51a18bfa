// The loss of supervised fine-tuning and pretraining: cross-entropy on the listed rows (Ouyang et al. 2022, §3.5).
#include "native/train/losses.h"

namespace heed {

SftResult Trainer::sft(const HostBatch& batch, float scale, uint64_t dropout_seed, float adapter_dropout) {
  require(adapter_dropout >= 0 && adapter_dropout < 1, "adapterDropout is ", adapter_dropout,
          ", expected 0 or more and less than 1");
  SftResult result;
  result.row_loss.resize(batch.rows.size());
  const DropoutKey dropout{options_.dropout, dropout_seed, adapter_dropout};
  language_loss(batch, dropout, 1, result.row_loss.data(),
                [&](Backend& b, Arena&, const Tensor& targets, const Tensor& logits, const Tensor& row_loss, int64_t) {
                  b.run(op::CrossEntropyLoss{.logits = logits,
                                             .row_loss = row_loss,
                                             .targets = targets,
                                             .vocab = model_->config().vocab,
                                             .scale = scale});
                });
  for (const float loss : result.row_loss) result.loss += loss;
  return result;
}

}  // namespace heed
