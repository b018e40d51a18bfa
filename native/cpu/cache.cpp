// A layer's key/value cache, and attention over it for one query per slot.
#include "native/cpu/attention.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::CacheWrite& op) {
  const int64_t H = op.num_heads, Hk = op.num_kv_heads, D = op.values.cols, T = op.keys.cols, row = op.qkv.cols;
  constexpr int64_t kSpan = 16;  // neighbouring tokens are mostly neighbours in the cache: write their keys together
  const int64_t spans = ceil_div(op.qkv.rows, kSpan);
  parallel_for(context.threads, spans * Hk, [&](int64_t i) {
    const int64_t h = i % Hk, begin = i / Hk * kSpan, end = smaller(op.qkv.rows, begin + kSpan);
    const float* const key = floats(op.qkv) + (H + h) * D;
    const float* const value = floats(op.qkv) + (H + Hk + h) * D;
    const int32_t* const slots = ints(op.slots);
    const int32_t* const positions = ints(op.positions);
    for (int64_t d = 0; d < D; ++d)
      for (int64_t n = begin; n < end; ++n)
        if (slots[n] >= 0) floats(op.keys)[((slots[n] * Hk + h) * D + d) * T + positions[n]] = key[n * row + d];
    for (int64_t n = begin; n < end; ++n)
      if (slots[n] >= 0)
        memcpy(floats(op.values) + ((slots[n] * Hk + h) * T + positions[n]) * D, value + n * row,
               size_t(D) * sizeof(float));
  });
}

// By heads: copies that follow one another are made in their order.
void run(Context& context, const op::CacheCopy& op) {
  const int64_t Hk = op.num_kv_heads, D = op.head_dim, T = op.keys.cols;
  parallel_for(context.threads, Hk, [&](int64_t h) {
    for (int64_t i = 0; i < op.from.rows; ++i) {
      const int64_t from = ints(op.from)[i] * Hk + h, to = ints(op.to)[i] * Hk + h, length = ints(op.lengths)[i];
      if (from == to) continue;
      for (int64_t d = 0; d < D; ++d)
        memcpy(floats(op.keys) + (to * D + d) * T, floats(op.keys) + (from * D + d) * T,
               size_t(length) * sizeof(float));
      memcpy(floats(op.values) + to * T * D, floats(op.values) + from * T * D, size_t(length * D) * sizeof(float));
    }
  });
}

// A task has one slot and some of its key/value heads. With one query head to each, up to four heads advance together:
// a sum over positions is a single chain of fma, which alone would leave the units waiting.
void run(Context& context, const op::AttentionDecode& op) {
  constexpr int64_t kHeads = 4;
  const int64_t H = op.num_heads, Hk = op.num_kv_heads, G = H / Hk, D = op.values.cols, T = op.keys.cols,
                B = op.out.rows;
  int64_t heads = G == 1 ? kHeads : 1;
  while (heads > 1 && B * ceil_div(Hk, heads) < 2 * context.threads) heads /= 2;
  const int64_t per_slot = ceil_div(Hk, heads), width = pad(D);
  parallel_for(context.threads, B * per_slot, [&](int64_t i) {
    const int64_t b = i / per_slot, h = i % per_slot * heads, count = smaller(heads, Hk - h),
                  n = ints(op.positions)[b] + 1;
    const int64_t slot_head = ints(op.slots)[b] * Hk + h, scores_row = T + 16;
    float* const memory = scratch(kRows * scores_row + (width == D ? 0 : count * n * width));
    const float* values = floats(op.values) + slot_head * T * D;
    int64_t values_row = T * D;
    if (width != D) {  // the sums read whole vectors
      float* const copy = memory + kRows * scores_row;
      for (int64_t r = 0; r < count; ++r)
        for (int64_t t = 0; t < n; ++t) copy_padded(copy + (r * n + t) * width, values + r * values_row + t * D, D);
      values = copy;
      values_row = n * width;
    }
    const Queries queries{.q = floats(op.qkv) + b * op.qkv.cols + h * G * D,
                          .q_row = D,
                          .dim = D,
                          .keys = {floats(op.keys) + slot_head * D * T, kLanes, T},
                          .keys_row = G == 1 ? D * T : 0,
                          .values = {values, G == 1 ? values_row : 0, width},
                          .visible = n,
                          .more_visible = 0,
                          .scale = 1.0f / __builtin_sqrtf(float(D)),
                          .scores = memory,
                          .scores_row = scores_row,
                          .out = floats(op.out) + b * H * D + h * G * D,
                          .out_row = D,
                          .lse = nullptr,
                          .lse_row = 0};
    if (G == 1)
      attend<kHeads, true>(queries, count);
    else
      attend<kRows>(queries, G);
  });
}

}  // namespace heed::cpu::HEED_LEVEL
