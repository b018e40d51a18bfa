// Token and position embeddings, and rotary positions.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::Embedding& op) {
  const int64_t C = op.wte.cols;
  const bool has_positions = op.wpe.rows > 0;
  with_type(op.wte, [&](const auto* wte) {
    for_rows(context, op.out.rows, C, [&](int64_t n) {
      const auto* const token = wte + ints(op.tokens)[n] * C;
      auto* const out = as(wte, op.out) + n * C;
      if (!has_positions) {
        memcpy(out, token, size_t(C) * sizeof *out);
        return;
      }
      const auto* const position = as(wte, op.wpe) + ints(op.positions)[n] * C;
      for_vectors(C, [&](int64_t c, int64_t m) { put(out + c, get(token + c, m) + get(position + c, m), m); });
    });
  });
}

// Tasks are columns: a token may occur many times, and its gradients are added in the order of n, whatever the threads.
void run(Context& context, const op::EmbeddingBackward& op) {
  const int64_t C = op.dwte.cols;
  const bool has_positions = op.dwpe.rows > 0;
  int64_t span = 128;
  while (span > 32 && C < span * context.threads) span /= 2;
  with_type(op.dout, [&](const auto* all) {
    for_spans(context, C, span, [&](int64_t begin, int64_t end) {
      for (int64_t n = 0; n < op.dout.rows; ++n) {
        const auto* const dout = all + n * C + begin;
        float* const token = floats(op.dwte) + ints(op.tokens)[n] * C + begin;
        for_vectors(end - begin,
                    [&](int64_t c, int64_t m) { put(token + c, get(token + c, m) + get(dout + c, m), m); });
        if (!has_positions) continue;
        float* const position = floats(op.dwpe) + ints(op.positions)[n] * C + begin;
        for_vectors(end - begin,
                    [&](int64_t c, int64_t m) { put(position + c, get(position + c, m) + get(dout + c, m), m); });
      }
    });
  });
}

void run(Context& context, const op::Rope& op) {
  const int64_t heads = op.num_heads + op.num_kv_heads, half = op.cos.cols, row = op.qkv.cols,
                dim = row / (heads + op.num_kv_heads);
  const float sign = op.inverse ? -1.0f : 1.0f;
  with_type(op.qkv, [&](auto* qkv) {
    for_rows(context, op.qkv.rows, row, [&](int64_t n) {
      const float* const cos = floats(op.cos) + ints(op.positions)[n] * half;
      const float* const sin = floats(op.sin) + ints(op.positions)[n] * half;
      for (int64_t h = 0; h < heads; ++h) {
        auto* const low = qkv + n * row + h * dim;
        auto* const high = low + half;
        for_vectors(half, [&](int64_t j, int64_t m) {
          const vec c = get(cos + j, m), s = get(sin + j, m) * sign, a = get(low + j, m), b = get(high + j, m);
          put(low + j, a * c - b * s, m);
          put(high + j, a * s + b * c, m);
        });
      }
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
