#include "native/model/transformer.h"

#include "native/core/bf16.h"
#include "native/model/work.h"

namespace heed {
namespace {

// Once for a pass, which is measured before it runs.
void count_work(const PassContext& pass, int64_t multiply_adds) {
  if (!pass.backend.measuring()) pass.model.engine()->count_multiply_adds(multiply_adds);
}

Tensor from_position_0(const PassContext& pass, const Tensor& wpe) {
  return wpe.rows == 0 ? wpe : wpe.slice(pass.config().position_offset, pass.config().max_positions);
}

// In place; of their gradient as well. transformers rounds the factor to the number format.
void scale_embeddings(const PassContext& pass, Tensor x) {
  const float scale = pass.config().embedding_scale;
  if (scale == 1) return;
  pass.backend.run(op::Scale{.out = x, .x = x, .factor = x.dtype == DType::bf16 ? to_float(to_bf16(scale)) : scale});
}

}  // namespace

TrunkActs trunk_forward(const PassContext& pass, bool keep) {
  const int64_t L = pass.config().num_layers;
  const Params& p = pass.params();
  TrunkActs acts;
  acts.norm = NormActs::take(pass);
  const int64_t streams = keep ? L + 1 : 2;
  for (int64_t i = 0; i < streams; ++i) acts.x.push_back(pass.activation(pass.tokens(), pass.config().channels));
  const auto stream = [&](int64_t l) { return acts.x[size_t(l % streams)]; };
  const int64_t blocks = keep && !pass.checkpointing ? L : 1;
  for (int64_t i = 0; i < blocks; ++i) acts.blocks.push_back(BlockActs::take(pass));

  pass.backend.run(op::Embedding{.out = stream(0),
                                 .tokens = pass.batch.tokens,
                                 .positions = pass.batch.positions,
                                 .wte = p.wte,
                                 .wpe = from_position_0(pass, p.wpe)});
  scale_embeddings(pass, stream(0));
  for (int64_t l = 0; l < L; ++l) block_forward(pass, l, acts.blocks[size_t(l % blocks)], stream(l), stream(l + 1));
  norm_forward(pass, p.norm, acts.norm, stream(L));
  if (!pass.backend.measuring()) pass.model.engine()->count_tokens(pass.tokens());
  count_work(pass,
             trunk_multiply_adds(pass.config(), pass.batch.host_positions) + adapter_multiply_adds(p, pass.tokens()));
  return acts;
}

void trunk_backward(const PassContext& pass, const Params& grads, const TrunkActs& acts, Tensor dout) {
  const Arena::Scope scope(pass.arena);
  const int64_t L = pass.config().num_layers;
  const Tensor dx = pass.activation(dout.rows, dout.cols);
  pass.backend.zero(dx);
  norm_backward(pass, pass.params().norm, grads.norm, acts.norm, dx, dout, acts.x[size_t(L)]);
  for (int64_t l = L - 1; l >= 0; --l) {
    const BlockActs& block = acts.blocks[pass.checkpointing ? 0 : size_t(l)];
    if (pass.checkpointing && l < L - 1) block_forward(pass, l, block, acts.x[size_t(l)], {});
    block_backward(pass, l, grads.blocks[size_t(l)], block, acts.x[size_t(l)], dx);
  }
  if (grads.wte.rows != 0) {
    scale_embeddings(pass, dx);
    pass.backend.run(op::EmbeddingBackward{.dwte = grads.wte,
                                           .dwpe = from_position_0(pass, grads.wpe),
                                           .dout = dx,
                                           .tokens = pass.batch.tokens,
                                           .positions = pass.batch.positions});
  }
  count_work(pass, trunk_backward_multiply_adds(pass.config(), pass.batch.host_positions, grads.wte.rows == 0) +
                       kBackward * adapter_multiply_adds(pass.params(), pass.tokens()));
}

namespace {

// The scalar head's bias is not a parameter but the score offset: it has no gradient.
LinearParams scalar_head(const Model& model) {
  return {model.params().head, model.score_bias(), Layout::kOutIn, {}};
}

HeadRows head_forward(const PassContext& pass, const LinearParams& p, Tensor out, Tensor trunk_out, Tensor rows) {
  const HeadRows head{pass.activation(rows.rows, trunk_out.cols), out, {}};
  pass.backend.run(op::GatherRows{.out = head.hidden, .x = trunk_out, .rows = rows});
  linear_forward(pass, p, head.out, head.hidden);
  count_work(pass, head_multiply_adds(pass.config(), rows.rows));
  return head;
}

void head_backward(const PassContext& pass, const LinearParams& p, const LinearParams& grads, const HeadRows& head,
                   Tensor dout, Tensor rows, Tensor dtrunk) {
  const Arena::Scope scope(pass.arena);
  if (dout.dtype != p.weight.dtype) {  // logits and scores are f32 even if the weights are bf16
    const Tensor rounded = pass.activation(dout.rows, dout.cols);
    pass.backend.run(op::Convert{.out = rounded, .x = dout});
    dout = rounded;
  }
  const Tensor dhidden = pass.activation(rows.rows, dtrunk.cols);
  linear_backward(pass, p, grads, dhidden, dout, head.hidden);
  pass.backend.run(op::ScatterRowsAdd{.dx = dtrunk, .dout = dhidden, .rows = rows});
  count_work(pass, (grads.weight.rows != 0 ? kBackward : 1) * head_multiply_adds(pass.config(), rows.rows));
}

Tensor take_logits(const PassContext& pass, int64_t rows) {
  const DType dtype = pass.backend.logits_dtype(pass.model.engine()->dtype());
  return pass.arena.take(dtype, rows, pass.config().padded_vocab());
}

void soft_cap(const PassContext& pass, Tensor logits) {
  const float cap = pass.config().logit_softcap;
  if (cap > 0) pass.backend.run(op::SoftCap{.out = logits, .x = logits, .cap = cap});
}

}  // namespace

HeadRows language_head_forward(const PassContext& pass, Tensor trunk_out, Tensor rows, bool keep) {
  const LinearParams params = pass.params().language_head(pass.config());
  HeadRows head = head_forward(pass, params, take_logits(pass, rows.rows), trunk_out, rows);
  soft_cap(pass, head.out);
  if (keep && pass.config().logit_softcap > 0) {
    head.capped = take_logits(pass, rows.rows);
    pass.backend.copy(head.capped, head.out);
  }
  return head;
}

Tensor language_logits(const PassContext& pass, Tensor hidden) {
  const Tensor logits = take_logits(pass, hidden.rows);
  linear_forward(pass, pass.params().language_head(pass.config()), logits, hidden);
  soft_cap(pass, logits);
  count_work(pass, head_multiply_adds(pass.config(), hidden.rows));
  return logits;
}

HeadRows scalar_head_forward(const PassContext& pass, Tensor trunk_out, Tensor rows) {
  return head_forward(pass, scalar_head(pass.model), pass.statistic(rows.rows), trunk_out, rows);
}

void language_head_backward(const PassContext& pass, const Params& grads, const HeadRows& head, Tensor dout,
                            Tensor rows, Tensor dtrunk) {
  const ModelConfig& c = pass.config();
  if (c.logit_softcap > 0)
    pass.backend.run(op::SoftCapBackward{.dx = dout, .dout = dout, .out = head.capped, .cap = c.logit_softcap});
  head_backward(pass, pass.params().language_head(c), grads.language_head(c), head, dout, rows, dtrunk);
}

void scalar_head_backward(const PassContext& pass, const Params& grads, const HeadRows& head, Tensor dout, Tensor rows,
                          Tensor dtrunk) {
  head_backward(pass, scalar_head(pass.model), {grads.head, {}, Layout::kOutIn, {}}, head, dout, rows, dtrunk);
}

}  // namespace heed
