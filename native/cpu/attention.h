// The two matrix products and the softmax of attention, shared by Attention, AttentionBackward and AttentionDecode.
//
// Results are bit-identical whatever else is computed: a dot product is one chain of fma over d; the maximum is exact;
// exponentials are added in lanes by position mod kLanes; a weighted sum over positions is one chain of fma in their
// order. A masked position adds zero, and positions before the first visible one are skipped in complete vectors, so
// that all others keep their lanes.
#pragma once

#include "native/cpu/level.h"
#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {

// Rows of a register tile, and its maximum number of accumulators: with its operands they fill the 32 registers of
// AVX-512, or the 16 of other levels.
#if defined(__AVX512F__)
constexpr int kRows = 8, kAccumulators = 24;
#elif defined(__AVX2__)
constexpr int kRows = 6, kAccumulators = 12;
#else
constexpr int kRows = 4, kAccumulators = 8;
#endif

static inline int64_t pad(int64_t n) {
  return ceil_div(n, kLanes) * kLanes;
}

// Keys (or values) of a path, transposed: channel d of position j is data[j / kLanes * panel + d * stride + j %
// kLanes].
template <class T>
struct Transposed {
  const T* data;
  int64_t panel, stride;
};

template <int R, int K, class T>
static inline void dots_tile(const float* q, int64_t q_row, int64_t dim, const Transposed<T>& keys, int64_t at,
                             float* out, int64_t out_row) {
  vec acc[R][K] = {};
  const T* k = keys.data + at * keys.panel;
  for (int64_t d = 0; d < dim; ++d) {
    vec column[K];
    HEED_UNROLL
    for (int j = 0; j < K; ++j) column[j] = load(k + j * keys.panel + d * keys.stride);
    HEED_UNROLL
    for (int r = 0; r < R; ++r) {
      const vec x = splat(q[r * q_row + d]);
      HEED_UNROLL
      for (int j = 0; j < K; ++j) acc[r][j] = fma(x, column[j], acc[r][j]);
    }
  }
  HEED_UNROLL
  for (int r = 0; r < R; ++r) HEED_UNROLL
  for (int j = 0; j < K; ++j) store(out + r * out_row + (at + j) * kLanes, acc[r][j]);
}

// out[r][j] = Σ_d q[r][d] keys[j][d] for the vectors [at, end) of positions.
template <int R, int K = (kAccumulators / R < 8 ? kAccumulators / R : 8), class T>
static inline void dots(const float* q, int64_t q_row, int64_t dim, const Transposed<T>& keys, int64_t at, int64_t end,
                        float* out, int64_t out_row) {
  for (; at + K <= end; at += K) dots_tile<R, K>(q, q_row, dim, keys, at, out, out_row);
  if constexpr (K > 1) dots<R, K / 2>(q, q_row, dim, keys, at, end, out, out_row);
}

// Layout of a weighted sum: the weight of term k in row r is data[r * row + k * term], or term k of row r starts there.
template <class T>
struct Matrix {
  const T* data;
  int64_t row, term;
};

// acc[r] += Σ_k weights[r][k] terms[k], k ascending. kOwn: each row has its own terms.
template <int R, int V, bool kOwn, class T>
__attribute__((always_inline)) static inline void weigh_tile(vec (&acc)[R][V], const Matrix<float>& weights,
                                                             const Matrix<T>& terms, int64_t count) {
  for (int64_t k = 0; k < count; ++k) {
    vec t[V];
    if constexpr (!kOwn) {
      HEED_UNROLL
      for (int v = 0; v < V; ++v) t[v] = load(terms.data + k * terms.term + v * kLanes);
    }
    HEED_UNROLL
    for (int r = 0; r < R; ++r) {
      const vec w = splat(weights.data[r * weights.row + k * weights.term]);
      HEED_UNROLL
      for (int v = 0; v < V; ++v)
        acc[r][v] = fma(w, kOwn ? load(terms.data + r * terms.row + k * terms.term + v * kLanes) : t[v], acc[r][v]);
    }
  }
}

// Splits columns into groups of at most three vectors, never three and one: calls body(column, constant number of
// vectors).
template <int V>
struct Vectors {
  static constexpr int value = V;
};
template <class F>
static inline void for_columns(int64_t dim, F&& body) {
  constexpr int kMost = kAccumulators / kRows < 3 ? kAccumulators / kRows : 3;
  for (int64_t c = 0; c < dim;) {
    const int64_t left = ceil_div(dim - c, kLanes);
    if (kMost >= 3 && left >= 3 && left != 4) {
      body(c, Vectors<kMost>{});
      c += kMost * kLanes;
    } else if (left >= 2) {
      body(c, Vectors<2>{});
      c += 2 * kLanes;
    } else {
      body(c, Vectors<1>{});
      c += kLanes;
    }
  }
}

// out[r] = factors[r] · Σ_k weights[r][k] terms[k], the first dim columns. Terms can be read up to pad(dim).
template <int R, bool kOwn = false, class T, class Out>
static inline void weighted_sums(const Matrix<float>& weights, const Matrix<T>& terms, int64_t count,
                                 const float* factors, int64_t dim, Out* out, int64_t out_row) {
  for_columns(dim, [&](int64_t c, auto vectors) {
    constexpr int V = decltype(vectors)::value;
    vec acc[R][V] = {};
    weigh_tile<R, V, kOwn>(acc, weights, Matrix<T>{terms.data + c, terms.row, terms.term}, count);
    const int64_t tail = dim - c - (V - 1) * kLanes;  // columns of the last vector
    HEED_UNROLL
    for (int r = 0; r < R; ++r) {
      Out* const to = out + r * out_row + c;
      HEED_UNROLL
      for (int v = 0; v + 1 < V; ++v) store(to + v * kLanes, acc[r][v] * factors[r]);
      put(to + (V - 1) * kLanes, acc[r][V - 1] * factors[r], smaller(kLanes, tail));
    }
  });
}

// sums[r] += Σ_k weights[r][k] terms[k]; both can be read, and sums written, up to pad(dim).
template <int R>
static inline void add_weighted(const Matrix<float>& weights, const Matrix<float>& terms, int64_t count, int64_t dim,
                                float* sums, int64_t sums_row) {
  for_columns(dim, [&](int64_t c, auto vectors) {
    constexpr int V = decltype(vectors)::value;
    vec acc[R][V];
    HEED_UNROLL
    for (int r = 0; r < R; ++r) HEED_UNROLL
    for (int v = 0; v < V; ++v) acc[r][v] = load(sums + r * sums_row + c + v * kLanes);
    weigh_tile<R, V, false>(acc, weights, Matrix<float>{terms.data + c, terms.row, terms.term}, count);
    HEED_UNROLL
    for (int r = 0; r < R; ++r) HEED_UNROLL
    for (int v = 0; v < V; ++v) store(sums + r * sums_row + c + v * kLanes, acc[r][v]);
  });
}

// The positions that a query attends to: [begin, end).
struct Range {
  int64_t begin, end;
};
// The range of a query with `end` positions up to its own.
static inline Range in_window(int64_t end, int64_t window) {
  return {window > 0 && end > window ? end - window : 0, end};
}
// Start of the vector that contains a position.
static inline int64_t vector_of(int64_t position) {
  return position / kLanes * kLanes;
}

// v in the lanes within the range, `other` in the rest; lane 0 is position `at`, which may be anywhere.
static inline vec in_range_or(vec v, Range range, int64_t at, float other) {
  const ivec lanes = lane_indices() + int32_t(at);
  return ((lanes >= int32_t(range.begin)) & (lanes < int32_t(range.end))) ? v : splat(other);
}

// Rows of a tile: row r has end + r · more positions up to its own, and attends to the last `window` of them.
struct Visible {
  int64_t end, more, window;

  Range row(int64_t r) const { return in_window(end + r * more, window); }
};

// The visible scores of each row become exp(scale · score - top), where top is the largest of them, scaled; the rest of
// [begin, end) becomes 0. All maxima are computed before all exponentials, so that the latency of a row's reduction is
// hidden by the next row's.
template <int R>
static inline void exponentials(float* scores, int64_t row, const Visible& visible, int64_t begin, int64_t end,
                                float scale, float* tops, float* totals) {
  // Between these all positions are visible to all rows.
  const int64_t right = vector_of(visible.row(0).end), left = smaller(pad(visible.row(R - 1).begin), right);
  constexpr float kMasked = -__builtin_inff();
  HEED_UNROLL
  for (int r = 0; r < R; ++r) {
    const float* const s = scores + r * row;
    const Range seen = visible.row(r);
    vec most = splat(kMasked);
    for (int64_t j = begin; j < left; j += kLanes) most = max(most, in_range_or(load(s + j), seen, j, kMasked));
    for (int64_t j = left; j < right; j += kLanes) most = max(most, load(s + j));
    for (int64_t j = right; j < end; j += kLanes) most = max(most, in_range_or(load(s + j), seen, j, kMasked));
    tops[r] = max_of(most) * scale;
  }
  for (int r = 0; r < R; ++r) {
    float* const s = scores + r * row;
    const Range seen = visible.row(r);
    const vec top = splat(tops[r]);
    vec total = {};
    const auto add = [&](int64_t j, vec score) {
      const vec e = exp(fma(score, splat(scale), -top));
      store(s + j, e);
      total += e;
    };
    for (int64_t j = begin; j < left; j += kLanes) add(j, in_range_or(load(s + j), seen, j, kMasked));
    for (int64_t j = left; j < right; j += kLanes) add(j, load(s + j));
    for (int64_t j = right; j < end; j += kLanes) add(j, in_range_or(load(s + j), seen, j, kMasked));
    totals[r] = sum(total);
  }
}

static inline vec capped(vec score, float cap) {
  return cap * tanh(score / cap);
}

// A tile of queries.
template <class Key, class Value, class Out>
struct Queries {
  const float* q;
  int64_t q_row, dim;
  Transposed<Key> keys;
  int64_t keys_row;  // distance between the keys of two rows, 0 for shared keys
  Matrix<Value> values;
  Visible visible;
  float scale, softcap;
  float* scores;  // kRows rows, by position
  int64_t scores_row;
  Out* out;
  int64_t out_row;
  float* lse;  // or null
  int64_t lse_row;
};

template <int R, bool kOwn, class Key, class Value, class Out>
static inline void attend_tile(const Queries<Key, Value, Out>& x) {
  const int64_t begin = vector_of(x.visible.row(0).begin), most = x.visible.row(R - 1).end, end = pad(most);
  if constexpr (kOwn) {
    for (int r = 0; r < R; ++r)
      dots<1>(x.q + r * x.q_row, 0, x.dim, Transposed<Key>{x.keys.data + r * x.keys_row, x.keys.panel, x.keys.stride},
              begin / kLanes, end / kLanes, x.scores + r * x.scores_row, 0);
  } else {
    dots<R>(x.q, x.q_row, x.dim, x.keys, begin / kLanes, end / kLanes, x.scores, x.scores_row);
  }
  if (x.softcap > 0)
    for (int r = 0; r < R; ++r)
      for (int64_t j = begin; j < end; j += kLanes) {
        float* const s = x.scores + r * x.scores_row + j;
        store(s, capped(load(s) * x.scale, x.softcap));
      }
  float tops[R], totals[R], inverse[R];
  exponentials<R>(x.scores, x.scores_row, x.visible, begin, end, x.softcap > 0 ? 1.0f : x.scale, tops, totals);
  for (int r = 0; r < R; ++r) {
    inverse[r] = 1.0f / totals[r];
    if (x.lse != nullptr) x.lse[r * x.lse_row] = tops[r] + float(math::log(double(totals[r])));
  }
  weighted_sums<R, kOwn>(Matrix<float>{x.scores + begin, x.scores_row, 1},
                         Matrix<Value>{x.values.data + begin * x.values.term, x.values.row, x.values.term},
                         most - begin, inverse, x.dim, x.out, x.out_row);
}

template <int R, bool kOwn = false, class Key, class Value, class Out>
static inline void attend(Queries<Key, Value, Out> x, int64_t rows) {
  for (; rows >= R; rows -= R) {
    attend_tile<R, kOwn>(x);
    x.q += R * x.q_row;
    x.out += R * x.out_row;
    if (x.lse != nullptr) x.lse += R * x.lse_row;
    x.visible.end += R * x.visible.more;
    if constexpr (kOwn) {
      x.keys.data += R * x.keys_row;
      x.values.data += R * x.values.row;
    }
  }
  if constexpr (R > 1) attend<R / 2, kOwn>(x, rows);
}

// Σ of a row's products.
template <class T>
static inline float dot(const T* a, const T* b, int64_t n) {
  vec total = {};
  for_vectors(n, [&](int64_t i, int64_t m) { total = fma(get(a + i, m), get(b + i, m), total); });
  return sum(total);
}

// Copies a row as floats, zeros up to pad(n).
template <class T>
static inline void copy_padded(float* to, const T* from, int64_t n) {
  for_vectors(n, [&](int64_t i, int64_t m) { store(to + i, get(from + i, m)); });
}
// Copies a row of sums, n of them.
template <class T>
static inline void copy(T* to, const float* from, int64_t n) {
  for_vectors(n, [&](int64_t i, int64_t m) { put(to + i, get(from + i, m), m); });
}

// One panel of Transposed from `count` rows of dim elements; the lanes beyond are 0.
template <class F>
static inline void transpose_panel(float* panel, int64_t dim, int64_t count, F&& row) {
  for (int64_t d = 0; d < dim; d += kLanes) {
    const int64_t n = smaller(kLanes, dim - d);
    vec x[kLanes];
    HEED_UNROLL
    for (int i = 0; i < kLanes; ++i) x[i] = i < count ? get(row(i) + d, n) : vec{};
    transpose(x);
    for (int64_t i = 0; i < n; ++i) store(panel + (d + i) * kLanes, x[i]);
  }
}

}  // namespace heed::cpu::HEED_LEVEL
