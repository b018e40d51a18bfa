// What the families after GPT-2 and Llama have, and the low-rank terms of adapters, in both types.
#include "test/native/cuda/bits_maker.h"

namespace heed::testing {
namespace {

// The width of the weights: of one head, or of all. kOut: which of the outputs.
enum class Part { kFirst, kSecond, kThird };
template <bool kOfHeads, Part kOut>
Tensor qk_norm(Maker& m) {
  constexpr int64_t kHeads = 6, kKvHeads = 2, kDim = 40, kRow = (kHeads + 2 * kKvHeads) * kDim;
  const int64_t of_queries = kOfHeads ? kDim : kHeads * kDim, of_keys = kOfHeads ? kDim : kKvHeads * kDim;
  const Tensor out = m.out(13, kRow), rstd = m.d.nan(13, kOfHeads ? kHeads + kKvHeads : 2);
  m.d.run(op::QkNorm{.out = out,
                     .rstd = rstd,
                     .qkv = m.normal(13, kRow, 3),
                     .q_weight = m.normal(1, of_queries),
                     .k_weight = m.normal(1, of_keys),
                     .num_heads = kHeads,
                     .num_kv_heads = kKvHeads,
                     .eps = 1e-6f,
                     .offset = kOfHeads ? 1.0f : 0.0f});
  return kOut == Part::kFirst ? out : rstd;
}
template <bool kOfHeads, Part kOut>
Tensor qk_norm_backward(Maker& m) {
  constexpr int64_t kHeads = 6, kKvHeads = 2, kDim = 40, kRow = (kHeads + 2 * kKvHeads) * kDim;
  const int64_t of_queries = kOfHeads ? kDim : kHeads * kDim, of_keys = kOfHeads ? kDim : kKvHeads * kDim;
  const Tensor dqkv = m.normal(37, kRow), dq = m.f32(1, of_queries), dk = m.f32(1, of_keys);
  m.d.run(op::QkNormBackward{.dqkv = dqkv,
                             .dq_weight = dq,
                             .dk_weight = dk,
                             .qkv = m.normal(37, kRow, 3),
                             .rstd = m.f32(37, kOfHeads ? kHeads + kKvHeads : 2),
                             .q_weight = m.normal(1, of_queries),
                             .k_weight = m.normal(1, of_keys),
                             .num_heads = kHeads,
                             .num_kv_heads = kKvHeads,
                             .offset = kOfHeads ? 1.0f : 0.0f});
  return kOut == Part::kFirst ? dqkv : kOut == Part::kSecond ? dq : dk;
}
// Frozen weights of 8 bits, many rows of them and few.
template <int kRows, bool kTransposed>
Tensor int8_gemm(Maker& m) {
  constexpr int64_t kCols = 80, kDepth = 72;
  const int64_t rows = kTransposed ? kCols : kDepth, cols = kTransposed ? kDepth : kCols;
  std::vector<int8_t> weights;
  for (int64_t i = 0; i < rows * cols; ++i) weights.push_back(int8_t(i * 7919 / 13 % 255 - 127));
  std::vector<double> scale = reference::random_normal(size_t(cols), 97, 0.01);
  for (double& x : scale) x = std::fabs(x);
  const Tensor out = m.out(kRows, kCols);
  m.d.run(op::Int8Gemm{.out = out,
                       .a = m.normal(kRows, kDepth),
                       .b = m.d.i8(weights, rows, cols),
                       .scale = m.d.f32(scale, 1, cols),
                       .residual = m.normal(kRows, kCols),
                       .transpose_b = kTransposed});
  return out;
}
Tensor rms_norm_offset(Maker& m) {
  const Tensor out = m.out(9, 640);
  m.d.run(op::RmsNorm{
      .out = out, .rstd = m.d.nan(9), .x = m.normal(9, 640, 3), .weight = m.normal(1, 640), .eps = 1e-6f, .offset = 1});
  return out;
}
Tensor rms_norm_offset_backward(Maker& m) {
  const Tensor dx = m.normal(37, 640);
  m.d.run(op::RmsNormBackward{.dx = dx,
                              .dweight = m.f32(1, 640),
                              .dout = m.normal(37, 640),
                              .x = m.normal(37, 640, 3),
                              .rstd = m.f32(37),
                              .weight = m.normal(1, 640),
                              .offset = 1});
  return dx;
}
// Of the first channels of each head, backwards.
Tensor rope_partial(Maker& m) {
  const Tensor qkv = m.normal(17, 8 * 40);
  m.d.run(op::Rope{.qkv = qkv,
                   .positions = m.ints(17, 11),
                   .cos = m.f32(11, 8),
                   .sin = m.f32(11, 8),
                   .num_heads = 4,
                   .num_kv_heads = 2,
                   .inverse = true});
  return qkv;
}
Tensor embedding_alone(Maker& m) {
  const Tensor out = m.out(37, 264);
  m.d.run(op::Embedding{
      .out = out, .tokens = m.ints(37, 19), .positions = m.ints(37, 11), .wte = m.normal(19, 264), .wpe = {}});
  return out;
}
Tensor relu(Maker& m) {
  const Tensor out = m.out(1, 1003);
  m.d.run(op::Relu{.out = out, .x = m.normal(1, 1003, 3)});
  return out;
}
Tensor relu_backward(Maker& m) {
  const Tensor dx = m.out(1, 1003);
  m.d.run(op::ReluBackward{.dx = dx, .dout = m.normal(1, 1003), .x = m.normal(1, 1003, 3)});
  return dx;
}
Tensor geglu(Maker& m) {
  const Tensor out = m.out(7, 328);
  m.d.run(op::GeGlu{.out = out, .gate_up = m.normal(7, 656, 3)});
  return out;
}
Tensor geglu_backward(Maker& m) {
  const Tensor dgate_up = m.out(7, 656);
  m.d.run(op::GeGluBackward{.dgate_up = dgate_up, .dout = m.normal(7, 328), .gate_up = m.normal(7, 656, 3)});
  return dgate_up;
}
Tensor scale(Maker& m) {
  const Tensor out = m.out(1, 1003);
  m.d.run(op::Scale{.out = out, .x = m.normal(1, 1003), .factor = 27.7128f});
  return out;
}
Tensor soft_cap(Maker& m) {
  const Tensor out = m.out(1, 5003);
  m.d.run(op::SoftCap{.out = out, .x = m.normal(1, 5003, 40), .cap = 30});
  return out;
}
Tensor soft_cap_backward(Maker& m) {
  const Tensor dx = m.out(1, 5003);
  m.d.run(op::SoftCapBackward{.dx = dx, .dout = m.normal(1, 5003), .out = m.normal(1, 5003, 10), .cap = 30});
  return dx;
}
template <int kFirst>
Tensor add_columns(Maker& m) {
  const Tensor out = m.normal(13, 264);
  m.d.run(op::AddColumns{.out = out, .x = m.normal(13, 72), .first = kFirst, .scale = 0.3f});
  return out;
}
template <int kFirst>
Tensor take_columns(Maker& m) {
  const Tensor out = m.out(13, 72);
  m.d.run(op::TakeColumns{.out = out, .x = m.normal(13, 264), .first = kFirst, .scale = 0.3f});
  return out;
}
Tensor gather_rows(Maker& m) {
  const Tensor out = m.out(37, 264);
  m.d.run(op::GatherRows{.out = out, .x = m.normal(11, 264), .rows = m.ints(37, 11)});
  return out;
}
Tensor convert(Maker& m) {
  const Tensor out = m.d.nan(1, 1003, m.dtype == DType::f32 ? DType::bf16 : DType::f32);
  m.d.run(op::Convert{.out = out, .x = m.normal(1, 1003)});
  return out;
}
// An average of a bf16 parameter.
Tensor lerp_param(Maker& m) {
  const Tensor out = m.f32(1, 1003);
  const Tensor param = m.d.nan(1, 1003, DType::bf16);
  m.d.run(op::Convert{.out = param, .x = out});
  m.d.run(op::Lerp{.out = out, .param = param, .x = m.f32(1, 1003), .weight = 1.0f / 1024});
  return out;
}
Tensor ppo_dual_clip(Maker& m) {
  const Tensor logits = m.normal(9, 320, 4);
  m.d.run(op::PpoPolicyLoss{.logits = logits,
                            .row_stats = m.d.nan(9, op::kNumPolicyStats),
                            .targets = m.ints(9, 301),
                            .old_logprobs = m.d.f32(std::vector<double>(9, -14), 9),
                            .advantages = m.f32(9),
                            .vocab = 301,
                            .clip_range = 0.2f,
                            .dual_clip = 1.5f,
                            .entropy_coef = 0.01f,
                            .temperature = 1,
                            .scale = 0.125f});
  return logits;
}
Tensor sample_filtered(Maker& m) {
  const Tensor logprobs = m.d.nan(9);
  std::vector<int32_t> numbers;
  for (int32_t i = 0; i < 18; ++i) numbers.push_back(i * 104729);
  m.d.run(op::Sample{.tokens = m.d.nan(9, 1, DType::i32),
                     .logprobs = logprobs,
                     .logits = m.normal(9, 320, 2),
                     .seeds = m.d.i32(numbers, 9, 2),
                     .counters = m.d.i32(numbers, 9, 2),
                     .temperatures = m.d.f32(std::vector<double>(9, 1.3f), 9),
                     .top_k = m.d.i32(std::vector<int32_t>(9, 40), 9),
                     .top_p = m.d.f32(std::vector<double>(9, 0.8f), 9),
                     .vocab = 301});
  return logprobs;
}

using enum Part;
const AddBits kFamilies(in_both_types({{"qk_norm", qk_norm<true, kFirst>},
                                       {"qk_norm_rstd", qk_norm<true, kSecond>},
                                       {"qk_norm_all", qk_norm<false, kFirst>},
                                       {"qk_norm_backward", qk_norm_backward<true, kFirst>},
                                       {"qk_norm_backward_dq", qk_norm_backward<true, kSecond>},
                                       {"qk_norm_all_backward", qk_norm_backward<false, kFirst>},
                                       {"qk_norm_all_backward_dk", qk_norm_backward<false, kThird>},
                                       {"int8_gemm", int8_gemm<7, false>},
                                       {"int8_gemm_rows", int8_gemm<70, false>},
                                       {"int8_gemm_transposed", int8_gemm<7, true>},
                                       {"rms_norm_offset", rms_norm_offset},
                                       {"rms_norm_offset_backward", rms_norm_offset_backward},
                                       {"rope_partial", rope_partial},
                                       {"embedding_alone", embedding_alone},
                                       {"relu", relu},
                                       {"relu_backward", relu_backward},
                                       {"geglu", geglu},
                                       {"geglu_backward", geglu_backward},
                                       {"scale", scale},
                                       {"soft_cap", soft_cap},
                                       {"soft_cap_backward", soft_cap_backward},
                                       {"add_columns", add_columns<128>},
                                       {"add_columns_odd", add_columns<101>},
                                       {"take_columns", take_columns<128>},
                                       {"take_columns_odd", take_columns<101>},
                                       {"gather_rows", gather_rows},
                                       {"convert", convert},
                                       {"lerp_param", lerp_param, false},
                                       {"ppo_dual_clip", ppo_dual_clip},
                                       {"sample_filtered", sample_filtered}}));

}  // namespace
}  // namespace heed::testing
