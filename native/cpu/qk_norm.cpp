// RMSNorm of queries and keys. Tasks are rows; for the gradients of the weights they are columns, each summed over the
// rows, and the heads of a row, in order.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"

namespace heed::cpu::HEED_LEVEL {

namespace {

constexpr int64_t kRowBlock = 64;  // rows summed before they are added to the total

// Of the queries, or of the keys: `count` parts of `width` columns, each normalized by itself.
struct Parts {
  int64_t first_column, width, count;
  int64_t first_part;  // in rstd
};
struct Heads {
  Parts queries, keys;
  int64_t row, parts, normed;  // columns of qkv, all parts, columns of queries and keys
};

template <class Op>
Heads heads_of(const Op& op) {
  const int64_t dim = op.qkv.cols / (op.num_heads + 2 * op.num_kv_heads), columns = op.num_heads * dim;
  const Parts queries{0, op.q_weight.cols, columns / op.q_weight.cols, 0};
  const Parts keys{columns, op.k_weight.cols, op.num_kv_heads * dim / op.k_weight.cols, queries.count};
  return {queries, keys, op.qkv.cols, queries.count + keys.count, columns + op.num_kv_heads * dim};
}

// With x̂ = x rstd and g = dout · (offset + weight), dx = rstd (g - x̂ mean(g x̂)) in place of dout.
template <class T>
static inline void to_dx(T* dout, const T* x, const T* weight, float offset, float rstd, int64_t width) {
  vec total = {};
  for_vectors(width, [&](int64_t i, int64_t n) {
    const vec g = get(dout + i, n) * (offset + get(weight + i, n));
    total = fma(g, get(x + i, n) * rstd, total);
  });
  const float mean = sum(total) / float(width);
  for_vectors(width, [&](int64_t i, int64_t n) {
    const vec g = get(dout + i, n) * (offset + get(weight + i, n));
    put(dout + i, fma(get(x + i, n) * rstd, splat(-mean), g) * rstd, n);
  });
}

// dweight[c] += Σ dout x̂ over rows and parts.
template <class T>
void add_dweight(const Context& context, float* dweight, const T* dout, const T* x, const float* rstd,
                 const Heads& heads, const Parts& parts, int64_t rows) {
  for_spans(context, ceil_div(parts.width, kLanes), 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kLanes; i < smaller(end * kLanes, parts.width); i += kLanes) {
      const int64_t n = smaller(kLanes, parts.width - i);
      vec total = {};
      for (int64_t block = 0; block < rows; block += kRowBlock) {
        vec w = {};
        for (int64_t r = block; r < smaller(rows, block + kRowBlock); ++r)
          for (int64_t p = 0; p < parts.count; ++p) {
            const int64_t at = r * heads.row + parts.first_column + p * parts.width + i;
            w = fma(get(dout + at, n), get(x + at, n) * rstd[r * heads.parts + parts.first_part + p], w);
          }
        total += w;
      }
      put(dweight + i, get(dweight + i, n) + total, n);
    }
  });
}

}  // namespace

void run(Context& context, const op::QkNorm& op) {
  const Heads heads = heads_of(op);
  with_type(op.qkv, [&](const auto* qkv) {
    for_rows(context, op.qkv.rows, heads.row, [&](int64_t r) {
      const auto* const x = qkv + r * heads.row;
      auto* const out = as(qkv, op.out) + r * heads.row;
      const auto normalize = [&](const Parts& parts, const auto* weight) {
        for (int64_t p = 0; p < parts.count; ++p) {
          const int64_t at = parts.first_column + p * parts.width;
          vec total = {};
          for_vectors(parts.width, [&](int64_t i, int64_t n) {
            const vec a = get(x + at + i, n);
            total = fma(a, a, total);
          });
          const float rstd = 1.0f / __builtin_sqrtf(sum(total) / float(parts.width) + op.eps);
          floats(op.rstd)[r * heads.parts + parts.first_part + p] = rstd;
          for_vectors(parts.width, [&](int64_t i, int64_t n) {
            put(out + at + i, get(x + at + i, n) * rstd * (op.offset + get(weight + i, n)), n);
          });
        }
      };
      normalize(heads.queries, as(qkv, op.q_weight));
      normalize(heads.keys, as(qkv, op.k_weight));
      memcpy(out + heads.normed, x + heads.normed, size_t(heads.row - heads.normed) * sizeof *out);
    });
  });
}

void run(Context& context, const op::QkNormBackward& op) {
  const Heads heads = heads_of(op);
  const float* const rstd = floats(op.rstd);
  with_type(op.qkv, [&](const auto* qkv) {
    auto* const d = as(qkv, op.dqkv);
    const auto *const q_weight = as(qkv, op.q_weight), *const k_weight = as(qkv, op.k_weight);
    if (op.dq_weight.rows != 0) {
      add_dweight(context, floats(op.dq_weight), d, qkv, rstd, heads, heads.queries, op.qkv.rows);
      add_dweight(context, floats(op.dk_weight), d, qkv, rstd, heads, heads.keys, op.qkv.rows);
    }
    for_rows(context, op.qkv.rows, heads.row, [&](int64_t r) {
      const auto differentiate = [&](const Parts& parts, const auto* weight) {
        for (int64_t p = 0; p < parts.count; ++p) {
          const int64_t at = r * heads.row + parts.first_column + p * parts.width;
          to_dx(d + at, qkv + at, weight, op.offset, rstd[r * heads.parts + parts.first_part + p], parts.width);
        }
      };
      differentiate(heads.queries, q_weight);
      differentiate(heads.keys, k_weight);
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
