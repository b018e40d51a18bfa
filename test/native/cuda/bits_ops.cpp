// The ops of the table, in both types: small cases with tails, whose values are of very different sizes where sums are
// made.
#include "test/native/cuda/bits_maker.h"

namespace heed::testing {
namespace {

Tensor embedding(Maker& m) {
  const Tensor out = m.out(37, 264);
  m.d.run(op::Embedding{.out = out,
                        .tokens = m.ints(37, 19),
                        .positions = m.ints(37, 11),
                        .wte = m.normal(19, 264),
                        .wpe = m.normal(11, 264)});
  return out;
}
Tensor embedding_backward(Maker& m) {
  const Tensor dwte = m.f32(19, 264);
  m.d.run(op::EmbeddingBackward{
      .dwte = dwte, .dout = m.normal(137, 264), .tokens = m.ints(137, 19), .positions = m.ints(137, 11)});
  return dwte;
}
Tensor rope(Maker& m) {
  const Tensor qkv = m.normal(17, 8 * 32);
  m.d.run(op::Rope{.qkv = qkv,
                   .positions = m.ints(17, 11),
                   .cos = m.f32(11, 16),
                   .sin = m.f32(11, 16),
                   .num_heads = 4,
                   .num_kv_heads = 2});
  return qkv;
}
template <int kCols>
Tensor layer_norm(Maker& m) {
  const Tensor out = m.out(9, kCols);
  m.d.run(op::LayerNorm{.out = out,
                        .mean = m.d.nan(9),
                        .rstd = m.d.nan(9),
                        .x = m.normal(9, kCols, 3),
                        .weight = m.normal(1, kCols),
                        .bias = m.normal(1, kCols),
                        .eps = 1e-5f});
  return out;
}
template <int kCols>
Tensor layer_norm_backward(Maker& m) {
  const Tensor dx = m.normal(37, kCols), dweight = m.f32(1, kCols);
  m.d.run(op::LayerNormBackward{.dx = dx,
                                .dweight = dweight,
                                .dbias = m.f32(1, kCols),
                                .dout = m.normal(37, kCols),
                                .x = m.normal(37, kCols, 3),
                                .mean = m.f32(37),
                                .rstd = m.f32(37),
                                .weight = m.normal(1, kCols)});
  return kCols % 2 == 0 ? dx : dweight;
}
Tensor rms_norm(Maker& m) {
  const Tensor out = m.out(9, 768);
  m.d.run(
      op::RmsNorm{.out = out, .rstd = m.d.nan(9), .x = m.normal(9, 768, 3), .weight = m.normal(1, 768), .eps = 1e-5f});
  return out;
}
Tensor rms_norm_backward(Maker& m) {
  const Tensor dweight = m.f32(1, 768);
  m.d.run(op::RmsNormBackward{.dx = m.normal(37, 768),
                              .dweight = dweight,
                              .dout = m.normal(37, 768),
                              .x = m.normal(37, 768, 3),
                              .rstd = m.f32(37),
                              .weight = m.normal(1, 768)});
  return dweight;
}
Tensor bias_backward(Maker& m) {
  const Tensor dbias = m.f32(1, 264);
  m.d.run(op::BiasBackward{.dbias = dbias, .dout = m.normal(137, 264)});
  return dbias;
}
template <bool kExact>
Tensor gelu(Maker& m) {
  const Tensor out = m.out(1, 5003);
  m.d.run(op::Gelu{.out = out, .x = m.normal(1, 5003, 3), .exact = kExact});
  return out;
}
template <bool kExact>
Tensor gelu_backward(Maker& m) {
  const Tensor dx = m.out(1, 5003);
  m.d.run(op::GeluBackward{.dx = dx, .dout = m.normal(1, 5003), .x = m.normal(1, 5003, 3), .exact = kExact});
  return dx;
}
Tensor swiglu(Maker& m) {
  const Tensor out = m.out(7, 328);
  m.d.run(op::SwiGlu{.out = out, .gate_up = m.normal(7, 656, 3)});
  return out;
}
Tensor swiglu_backward(Maker& m) {
  const Tensor dgate_up = m.out(7, 656);
  m.d.run(op::SwiGluBackward{.dgate_up = dgate_up, .dout = m.normal(7, 328), .gate_up = m.normal(7, 656, 3)});
  return dgate_up;
}
Tensor add(Maker& m) {
  const Tensor out = m.out(1, 1003);
  m.d.run(op::Add{.out = out, .a = m.normal(1, 1003), .b = m.normal(1, 1003)});
  return out;
}
Tensor dropout(Maker& m) {
  const Tensor out = m.out(7, 330);
  m.d.run(op::Dropout{.out = out, .x = m.normal(7, 330), .rate = 0.3f, .seed = 11, .site = 3, .first_row = 5});
  return out;
}
Tensor scatter_rows_add(Maker& m) {
  const Tensor dx = m.normal(11, 264);
  m.d.run(op::ScatterRowsAdd{.dx = dx, .dout = m.normal(37, 264), .rows = m.ints(37, 11)});
  return dx;
}
template <int kVocab>
Tensor cross_entropy(Maker& m) {
  const Tensor logits = m.normal(3, (kVocab + 63) / 64 * 64, 4);
  m.d.run(op::CrossEntropyLoss{
      .logits = logits, .row_loss = m.d.nan(3), .targets = m.ints(3, kVocab), .vocab = kVocab, .scale = 0.125f});
  return logits;
}
Tensor token_logprobs(Maker& m) {
  const Tensor logprobs = m.d.nan(9);
  m.d.run(op::TokenLogprobs{.logprobs = logprobs,
                            .entropy = m.d.nan(9),
                            .logits = m.normal(9, 9024, 4),
                            .targets = m.ints(9, 9001),
                            .vocab = 9001,
                            .temperature = 0.7f});
  return logprobs;
}
template <bool kStats>
Tensor ppo_policy(Maker& m) {
  const Tensor logits = m.normal(9, 9024, 4), stats = m.d.nan(9, op::kNumPolicyStats);
  m.d.run(op::PpoPolicyLoss{.logits = logits,
                            .row_stats = stats,
                            .targets = m.ints(9, 9001),
                            .old_logprobs = m.d.f32(std::vector<double>(9, -11.25), 9),
                            .advantages = m.f32(9),
                            .vocab = 9001,
                            .clip_range = 0.2f,
                            .dual_clip = 0,
                            .entropy_coef = 0.01f,
                            .temperature = 0.7f,
                            .scale = 0.125f});
  return kStats ? stats : logits;
}
Tensor ppo_value(Maker& m) {
  const Tensor dvalues = m.d.nan(333);
  m.d.run(op::PpoValueLoss{.dvalues = dvalues,
                           .row_stats = m.d.nan(333, op::kNumValueStats),
                           .values = m.f32(333),
                           .old_values = m.f32(333),
                           .returns = m.f32(333),
                           .clip_range = 0.2f,
                           .scale = 0.125f});
  return dvalues;
}
template <bool kStats>
Tensor pairwise(Maker& m) {
  const Tensor dscores = m.d.nan(50), stats = m.d.nan(3, op::kNumPairwiseStats);
  m.d.run(op::PairwiseLoss{.dscores = dscores,
                           .group_stats = stats,
                           .scores = m.f32(50, 1, 3),
                           .ranks = m.ints(50, 7),
                           .cu_groups = m.d.i32({0, 4, 9, 50}, 4),
                           .scale = 0.125f});
  return kStats ? stats : dscores;
}
Tensor squared_norm(Maker& m) {
  const Tensor sum = m.d.nan(1, 1, DType::f64);
  m.d.run(op::SquaredNorm{.sum = sum, .x = m.f32(20003, 1, 1e3)});
  return sum;
}
Tensor adamw(Maker& m) {
  const Tensor weight = m.f32(1003);
  m.d.run(op::AdamW{.weight = weight,
                    .m = m.f32(1003),
                    .v = m.d.f32(std::vector<double>(1003, 0.37), 1003),
                    .param = m.dtype == DType::bf16 ? m.normal(1003) : Tensor{},
                    .grad = m.f32(1003),
                    .learning_rate = 1e-3f,
                    .beta1 = 0.9f,
                    .beta2 = 0.95f,
                    .eps = 1e-8f,
                    .weight_decay = 0.1f,
                    .correction1 = 0.1f,
                    .correction2 = 0.05f,
                    .grad_scale = 0.7f});
  return weight;
}
Tensor lerp(Maker& m) {
  const Tensor out = m.normal(1, 1003);
  m.d.run(op::Lerp{.out = out, .x = m.normal(1, 1003), .weight = 0.25f});
  return out;
}
template <int kTopK, int kTopP>
Tensor sample(Maker& m) {
  const Tensor tokens = m.d.nan(9, 1, DType::i32);
  std::vector<int32_t> numbers;
  for (int32_t i = 0; i < 18; ++i) numbers.push_back(i * 7919);
  m.d.run(op::Sample{.tokens = tokens,
                     .logprobs = m.d.nan(9),
                     .logits = m.normal(9, 3008, 2),
                     .seeds = m.d.i32(numbers, 9, 2),
                     .counters = m.d.i32(numbers, 9, 2),
                     .temperatures = m.d.f32(std::vector<double>(9, 0.9f), 9),
                     .top_k = m.d.i32(std::vector<int32_t>(9, kTopK), 9),
                     .top_p = m.d.f32(std::vector<double>(9, float(kTopP) / 100), 9),
                     .vocab = 3001});
  return tokens;
}

const AddBits kOps(in_both_types({{"embedding", embedding},
                                  {"embedding_backward", embedding_backward},
                                  {"rope", rope},
                                  {"layer_norm", layer_norm<768>},
                                  {"layer_norm_any", layer_norm<331>},
                                  {"layer_norm_long", layer_norm<9000>},
                                  {"layer_norm_backward", layer_norm_backward<768>},
                                  {"layer_norm_backward_any", layer_norm_backward<331>},
                                  {"rms_norm", rms_norm},
                                  {"rms_norm_backward", rms_norm_backward},
                                  {"bias_backward", bias_backward},
                                  {"gelu", gelu<false>},
                                  {"gelu_exact", gelu<true>},
                                  {"gelu_backward", gelu_backward<false>},
                                  {"gelu_backward_exact", gelu_backward<true>},
                                  {"swiglu", swiglu},
                                  {"swiglu_backward", swiglu_backward},
                                  {"add", add},
                                  {"dropout", dropout},
                                  {"scatter_rows_add", scatter_rows_add},
                                  {"cross_entropy", cross_entropy<9001>},
                                  {"cross_entropy_small", cross_entropy<200>},
                                  {"token_logprobs", token_logprobs},
                                  {"ppo_policy", ppo_policy<false>},
                                  {"ppo_policy_stats", ppo_policy<true>},
                                  {"ppo_value", ppo_value, false},
                                  {"pairwise", pairwise<false>, false},
                                  {"pairwise_stats", pairwise<true>, false},
                                  {"squared_norm", squared_norm, false},
                                  {"adamw", adamw},
                                  {"lerp", lerp},
                                  {"sample", sample<0, 100>},
                                  {"sample_top_k", sample<50, 100>},
                                  {"sample_top_p", sample<0, 90>}}));

}  // namespace
}  // namespace heed::testing
