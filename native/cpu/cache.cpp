// A layer's key/value cache, and attention over it for one query per slot.
#include "native/cpu/segments.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::CacheWrite& op) {
  const int64_t H = op.num_heads, Hk = op.num_kv_heads, D = op.values.cols, T = op.keys.cols, row = op.qkv.cols;
  constexpr int64_t kSpan = 16;  // adjacent tokens are mostly adjacent in the cache: their keys are written together
  const int64_t spans = ceil_div(op.qkv.rows, kSpan);
  with_type(op.qkv, [&](const auto* qkv) {
    auto *const keys = as(qkv, op.keys), *const values = as(qkv, op.values);
    parallel_for(context.threads, spans * Hk, [&](int64_t i) {
      const int64_t h = i % Hk, begin = i / Hk * kSpan, end = smaller(op.qkv.rows, begin + kSpan);
      const auto* const key = qkv + (H + h) * D;
      const auto* const value = qkv + (H + Hk + h) * D;
      const int32_t* const slots = ints(op.slots);
      const int32_t* const positions = ints(op.positions);
      for (int64_t d = 0; d < D; ++d)
        for (int64_t n = begin; n < end; ++n)
          if (slots[n] >= 0) keys[((slots[n] * Hk + h) * D + d) * T + positions[n]] = key[n * row + d];
      for (int64_t n = begin; n < end; ++n)
        if (slots[n] >= 0)
          memcpy(values + ((slots[n] * Hk + h) * T + positions[n]) * D, value + n * row, size_t(D) * sizeof *values);
    });
  });
}

// Tasks are heads, so that consecutive copies are made in order.
void run(Context& context, const op::CacheCopy& op) {
  const int64_t Hk = op.num_kv_heads, D = op.head_dim, T = op.keys.cols;
  with_type(op.keys, [&](auto* keys) {
    auto* const values = as(keys, op.values);
    parallel_for(context.threads, Hk, [&](int64_t h) {
      for (int64_t i = 0; i < op.from.rows; ++i) {
        const int64_t from = ints(op.from)[i] * Hk + h, to = ints(op.to)[i] * Hk + h, length = ints(op.lengths)[i];
        if (from == to) continue;
        for (int64_t d = 0; d < D; ++d)
          memcpy(keys + (to * D + d) * T, keys + (from * D + d) * T, size_t(length) * sizeof *keys);
        memcpy(values + to * T * D, values + from * T * D, size_t(length * D) * sizeof *values);
      }
    });
  });
}

namespace {

// Working memory of a task of AttentionDecode: scores, queries and, if heads are not a multiple of a vector, its heads'
// values.
struct DecodeMemory {
  static constexpr int64_t kHeads = 4;

  float *scores, *queries, *values;
  int64_t scores_row, floats;

  DecodeMemory(const Layout& x, int64_t positions, float* memory) {
    Pieces pieces{memory};
    scores_row = positions + 16;
    scores = pieces.take(kRows * scores_row);
    queries = pieces.take(x.widened ? (x.group > kHeads ? x.group : kHeads) * x.padded_dim : 0);
    values = pieces.take(x.padded_dim == x.dim ? 0 : (x.group == 1 ? kHeads : 1) * positions * x.padded_dim);
    floats = pieces.used;
  }
};

}  // namespace

Need need(const Context&, const op::AttentionDecode& op) {
  return {.own = DecodeMemory(layout_of(op), op.keys.cols, nullptr).floats};
}

// A task handles one slot and some of its key/value heads. With one query head for each, up to four heads are computed
// together: a sum over positions is a single chain of fma, whose latency one head could not hide.
void run(Context& context, const op::AttentionDecode& op) {
  constexpr int64_t kHeads = DecodeMemory::kHeads;
  const Layout x = layout_of(op);
  const int64_t H = op.num_heads, Hk = op.num_kv_heads, G = x.group, D = x.dim, T = op.keys.cols, B = op.out.rows;
  int64_t heads = G == 1 ? kHeads : 1;
  while (heads > 1 && B * ceil_div(Hk, heads) < 2 * context.threads) heads /= 2;
  const int64_t per_slot = ceil_div(Hk, heads), width = x.padded_dim;
  const Workspace workspace = context.workspace(need(context, op));
  with_type(op.qkv, [&](const auto* qkv) {
    auto *const keys = as(qkv, op.keys), *const values = as(qkv, op.values), *const out = as(qkv, op.out);
    parallel_for(context.threads, B * per_slot, [&](int64_t i) {
      const int64_t b = i / per_slot, h = i % per_slot * heads, count = smaller(heads, Hk - h),
                    n = ints(op.positions)[b] + 1;
      const int64_t slot_head = ints(op.slots)[b] * Hk + h;
      const DecodeMemory m(x, T, workspace.own());
      const Floats q = widened(qkv + b * op.qkv.cols + h * G * D, D, G == 1 ? count : G, x, m.queries);
      const auto attend_to = [&](const auto* value, int64_t value_row) {
        using Type = std::remove_reference_t<decltype(*out)>;
        Queries<Type, std::remove_cvref_t<decltype(*value)>, Type> queries{};
        queries.q = q.data;
        queries.q_row = q.row;
        queries.dim = D;
        queries.keys = {keys + slot_head * D * T, kLanes, T};
        queries.keys_row = G == 1 ? D * T : 0;
        queries.values = {value, G == 1 ? value_row : 0, width};
        queries.visible = {.end = n, .more = 0, .window = op.window};
        queries.scale = x.scale;
        queries.softcap = x.softcap;
        queries.scores = m.scores;
        queries.scores_row = m.scores_row;
        queries.out = out + b * H * D + h * G * D;
        queries.out_row = D;
        if (G == 1)
          attend<kHeads, true>(queries, count);
        else
          attend<kRows>(queries, G);
      };
      const auto* const value = values + slot_head * T * D;
      if (width == D) return attend_to(value, T * D);
      for (int64_t r = 0; r < count; ++r)  // the sums read complete vectors
        for (int64_t t = vector_of(in_window(n, op.window).begin); t < n; ++t)
          copy_padded(m.values + (r * n + t) * width, value + (r * T + t) * D, D);
      attend_to(static_cast<const float*>(m.values), n * width);
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
