#include "native/model/transformer.h"

#include <algorithm>

namespace heed {

TrunkActs trunk_forward(Engine& engine, Backend& b, Arena& arena, const Model& model, const Batch& batch,
                        const DropoutKey& dropout, bool keep) {
  const ModelConfig& c = model.config();
  const Params& p = model.params();
  const int64_t N = batch.tokens.rows;
  TrunkActs acts;
  acts.out = arena.take(DType::f32, N, c.channels);
  acts.mean = arena.take(DType::f32, N);
  acts.rstd = arena.take(DType::f32, N);
  const int64_t streams = keep ? c.num_layers + 1 : std::min<int64_t>(2, c.num_layers + 1);
  for (int64_t i = 0; i < streams; ++i) acts.x.push_back(arena.take(DType::f32, N, c.channels));
  const auto stream = [&](int64_t l) { return acts.x[size_t(l % streams)]; };

  b.run(op::Embedding{
      .out = stream(0), .tokens = batch.tokens, .positions = batch.positions, .wte = p.wte, .wpe = p.wpe});
  BlockActs shared;
  if (!keep) shared = BlockActs::take(arena, c, N);
  for (int64_t l = 0; l < c.num_layers; ++l) {
    if (keep) acts.blocks.push_back(BlockActs::take(arena, c, N));
    block_forward(b, arena, c, p.blocks[size_t(l)], keep ? acts.blocks.back() : shared, batch, model.rope_cos(),
                  model.rope_sin(), dropout, l, stream(l), stream(l + 1));
  }
  const Tensor last = stream(c.num_layers);
  if (c.architecture == Architecture::kGpt2) {
    b.run(op::LayerNorm{.out = acts.out,
                        .mean = acts.mean,
                        .rstd = acts.rstd,
                        .x = last,
                        .weight = p.norm_weight,
                        .bias = p.norm_bias,
                        .eps = c.norm_eps});
  } else {
    b.run(op::RmsNorm{.out = acts.out, .rstd = acts.rstd, .x = last, .weight = p.norm_weight, .eps = c.norm_eps});
  }
  if (!b.measuring()) engine.count_tokens(N);
  return acts;
}

void trunk_backward(Backend& b, Arena& arena, const Model& model, const Params& grads, const Batch& batch,
                    const DropoutKey& dropout, const TrunkActs& acts, Tensor dout) {
  const ModelConfig& c = model.config();
  const Params& p = model.params();
  const Arena::Scope scope(arena);
  const Tensor dx = arena.take(DType::f32, dout.rows, c.channels);
  b.zero(dx);
  const Tensor last = acts.x[size_t(c.num_layers)];
  if (c.architecture == Architecture::kGpt2) {
    b.run(op::LayerNormBackward{.dx = dx,
                                .dweight = grads.norm_weight,
                                .dbias = grads.norm_bias,
                                .dout = dout,
                                .x = last,
                                .mean = acts.mean,
                                .rstd = acts.rstd,
                                .weight = p.norm_weight});
  } else {
    b.run(op::RmsNormBackward{
        .dx = dx, .dweight = grads.norm_weight, .dout = dout, .x = last, .rstd = acts.rstd, .weight = p.norm_weight});
  }
  for (int64_t l = c.num_layers - 1; l >= 0; --l) {
    block_backward(b, arena, c, p.blocks[size_t(l)], grads.blocks[size_t(l)], acts.blocks[size_t(l)], batch,
                   model.rope_cos(), model.rope_sin(), dropout, l, acts.x[size_t(l)], dx);
  }
  b.run(op::EmbeddingBackward{
      .dwte = grads.wte, .dwpe = grads.wpe, .dout = dx, .tokens = batch.tokens, .positions = batch.positions});
}

int64_t logits_chunk_rows(const ModelConfig& config) {
  constexpr int64_t kFloats = 8 << 20;
  return std::max<int64_t>(16, kFloats / config.padded_vocab());
}

HeadRows lm_head_forward(Backend& b, Arena& arena, const Model& model, const Tensor& trunk_out, const Tensor& rows) {
  const ModelConfig& c = model.config();
  HeadRows head{arena.take(DType::f32, rows.rows, c.channels), arena.take(DType::f32, rows.rows, c.padded_vocab())};
  b.run(op::GatherRows{.out = head.hidden, .x = trunk_out, .rows = rows});
  b.run(op::Gemm{
      .out = head.logits, .a = head.hidden, .b = model.params().lm_head(c), .transpose_b = true, .weight = true});
  return head;
}

void lm_head_backward(Backend& b, Arena& arena, const Model& model, const Params& grads, const HeadRows& head,
                      const Tensor& rows, Tensor dtrunk) {
  const ModelConfig& c = model.config();
  const Arena::Scope scope(arena);
  const Tensor dhidden = arena.take(DType::f32, rows.rows, c.channels);
  b.run(op::Gemm{.out = dhidden, .a = head.logits, .b = model.params().lm_head(c), .weight = true});
  b.run(op::Gemm{.out = grads.lm_head(c), .a = head.logits, .b = head.hidden, .transpose_a = true, .accumulate = true});
  b.run(op::ScatterRowsAdd{.dx = dtrunk, .dout = dhidden, .rows = rows});
}

Tensor scalar_head_forward(Backend& b, Arena& arena, const Model& model, const Tensor& hidden) {
  const Tensor scores = arena.take(DType::f32, hidden.rows);
  b.run(op::Gemm{.out = scores,
                 .a = hidden,
                 .b = model.params().head,
                 .bias = model.score_bias(),
                 .transpose_b = true,
                 .weight = true});
  return scores;
}

void scalar_head_backward(Backend& b, Arena& arena, const Model& model, const Params& grads, const Tensor& hidden,
                          const Tensor& dscores, const Tensor& rows, Tensor dtrunk) {
  const Arena::Scope scope(arena);
  const Tensor dhidden = arena.take(DType::f32, hidden.rows, hidden.cols);
  b.run(op::Gemm{.out = dhidden, .a = dscores, .b = model.params().head, .weight = true});
  b.run(op::Gemm{.out = grads.head, .a = dscores, .b = hidden, .transpose_a = true, .accumulate = true});
  b.run(op::ScatterRowsAdd{.dx = dtrunk, .dout = dhidden, .rows = rows});
}

}  // namespace heed
