// Attention over segments with parents and over a cache, in both types.
#include "test/native/cuda/bits_maker.h"

namespace heed::testing {
namespace {

// kCap: of scores, which then have a scale of their own too. A tree of segments, or one of kLength tokens.
template <int kDim, int kWindow, bool kBackward, int kCap = 0, int kLength = 0>
Tensor attention(Maker& m) {
  const int64_t heads = 4, kv_heads = 2, N = kLength > 0 ? kLength : 217, row = (heads + 2 * kv_heads) * kDim;
  const Tensor qkv = m.normal(N, row), out = m.out(N, heads * kDim), lse = m.d.nan(N, heads);
  const int64_t segments = kLength > 0 ? 1 : 4, max_path = kLength > 0 ? kLength : 187;
  const Tensor cu_seqlens = kLength > 0 ? m.d.i32({0, kLength}, 2) : m.d.i32({0, 37, 150, 180, 217}, 5),
               parent = kLength > 0 ? m.d.i32({-1}, 1) : m.d.i32({-1, 0, 0, 1}, segments);
  m.d.run(op::Attention{.out = out,
                        .lse = lse,
                        .qkv = qkv,
                        .cu_seqlens = cu_seqlens,
                        .parent = parent,
                        .num_heads = heads,
                        .num_kv_heads = kv_heads,
                        .max_path = max_path,
                        .window = kWindow,
                        .scale = kCap > 0 ? 0.25f : 0.0f,
                        .softcap = kCap});
  if (!kBackward) return out;
  const Tensor dqkv = m.out(N, row);
  m.d.run(op::AttentionBackward{.dqkv = dqkv,
                                .dout = m.normal(N, heads * kDim),
                                .out = out,
                                .lse = lse,
                                .qkv = qkv,
                                .cu_seqlens = cu_seqlens,
                                .parent = parent,
                                .num_heads = heads,
                                .num_kv_heads = kv_heads,
                                .max_path = max_path,
                                .window = kWindow,
                                .scale = kCap > 0 ? 0.25f : 0.0f,
                                .softcap = kCap});
  return dqkv;
}
template <int kDim, int kLength = 150, int kCap = 0>
Tensor attention_decode(Maker& m) {
  const int64_t heads = 4, kv_heads = 2, row = (heads + 2 * kv_heads) * kDim;
  const CacheShape shape = m.d.backend().cache_shape(m.dtype, 3, kLength, kv_heads, kDim);
  const Tensor keys = m.out(shape.keys.rows, shape.keys.cols), values = m.out(shape.values.rows, shape.values.cols);
  std::vector<int32_t> slots(kLength, 2), positions;
  for (int32_t i = 0; i < kLength; ++i) positions.push_back(i);
  m.d.run(op::CacheWrite{.keys = keys,
                         .values = values,
                         .qkv = m.normal(kLength, row),
                         .slots = m.d.i32(slots, kLength),
                         .positions = m.d.i32(positions, kLength),
                         .num_heads = heads,
                         .num_kv_heads = kv_heads});
  m.d.run(op::CacheCopy{.keys = keys,
                        .values = values,
                        .from = m.d.i32({2}, 1),
                        .to = m.d.i32({0}, 1),
                        .lengths = m.d.i32({100}, 1),
                        .num_kv_heads = kv_heads,
                        .head_dim = kDim});
  const Tensor out = m.out(2, heads * kDim);
  m.d.run(op::AttentionDecode{.out = out,
                              .qkv = m.normal(2, row),
                              .keys = keys,
                              .values = values,
                              .slots = m.d.i32({2, 0}, 2),
                              .positions = m.d.i32({kLength - 1, 77}, 2),
                              .num_heads = heads,
                              .num_kv_heads = kv_heads,
                              .window = 0,
                              .scale = kCap > 0 ? 0.25f : 0.0f,
                              .softcap = kCap});
  return out;
}
// A step's keys go to the cache and its queries attend: on a device one kernel, or two where it is long.
template <int kDim, int kLength, bool kCache>
Tensor decode_step(Maker& m) {
  const int64_t heads = 4, kv_heads = 2, row = (heads + 2 * kv_heads) * kDim;
  const CacheShape shape = m.d.backend().cache_shape(m.dtype, 2, kLength, kv_heads, kDim);
  const Tensor keys = m.normal(shape.keys.rows, shape.keys.cols),
               values = m.normal(shape.values.rows, shape.values.cols), qkv = m.normal(2, row);
  const Tensor out = m.out(2, heads * kDim), slots = m.d.i32({1, 0}, 2), positions = m.d.i32({kLength - 1, 77}, 2);
  m.d.run(op::CacheWrite{.keys = keys,
                         .values = values,
                         .qkv = qkv,
                         .slots = slots,
                         .positions = positions,
                         .num_heads = heads,
                         .num_kv_heads = kv_heads});
  m.d.run(op::AttentionDecode{.out = out,
                              .qkv = qkv,
                              .keys = keys,
                              .values = values,
                              .slots = slots,
                              .positions = positions,
                              .num_heads = heads,
                              .num_kv_heads = kv_heads,
                              .window = 0,
                              .distinct_slots = true});
  return kCache ? values : out;
}

const AddBits kAttention(in_both_types({{"attention_24", attention<24, 0, false>},
                                        {"attention_64", attention<64, 0, false>},
                                        {"attention_128", attention<128, 0, false>},
                                        {"attention_64_window", attention<64, 70, false>},
                                        {"attention_24_backward", attention<24, 0, true>},
                                        {"attention_64_backward", attention<64, 0, true>},
                                        {"attention_128_backward", attention<128, 0, true>},
                                        {"attention_64_window_backward", attention<64, 70, true>},
                                        {"attention_64_long_backward", attention<64, 0, true, 0, 330>},
                                        {"attention_128_long_backward", attention<128, 0, true, 0, 330>},
                                        {"attention_128_window_backward", attention<128, 70, true>},
                                        {"attention_24_decode", attention_decode<24>},
                                        {"attention_64_decode", attention_decode<64>},
                                        {"attention_128_decode", attention_decode<128>},
                                        {"attention_64_decode_long", attention_decode<64, 600>},
                                        {"attention_128_decode_long", attention_decode<128, 600>},
                                        {"decode_step_24", decode_step<24, 150, false>},
                                        {"decode_step_64", decode_step<64, 150, false>},
                                        {"decode_step_64_cache", decode_step<64, 150, true>},
                                        {"decode_step_128_long", decode_step<128, 600, false>},
                                        {"decode_step_128_long_cache", decode_step<128, 600, true>},
                                        {"attention_64_capped", attention<64, 70, false, 5>},
                                        {"attention_64_capped_backward", attention<64, 70, true, 5>},
                                        {"attention_80_capped_backward", attention<80, 0, true, 5>},
                                        {"attention_64_capped_decode", attention_decode<64, 150, 5>}}));

}  // namespace
}  // namespace heed::testing
