// LayerNorm and RMSNorm. Tasks are rows; for the gradients of weight and bias they are columns, so that each is summed
// by one task over the rows in order, in blocks of rows to reduce rounding errors.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"

namespace heed::cpu::HEED_LEVEL {

namespace {

constexpr int64_t kRowBlock = 64;  // rows summed before they are added to the total

template <class T>
static inline float mean_of(const T* x, int64_t cols) {
  vec total = {};
  for_vectors(cols, [&](int64_t i, int64_t n) { total += get(x + i, n); });
  return sum(total) / float(cols);
}
template <class T>
static inline float mean_square(const T* x, int64_t cols, float center) {
  vec total = {};
  for_vectors(cols, [&](int64_t i, int64_t n) {
    const vec d = get(x + i, n, center) - center;
    total = fma(d, d, total);
  });
  return sum(total) / float(cols);
}

// With x̂ = (x - mean) rstd and g = dout · (offset + weight):
//   LayerNorm  dx += rstd (g - mean(g) - x̂ mean(g x̂))
//   RMSNorm    dx += rstd (g - x̂ mean(g x̂)), with mean = 0
template <class T>
static inline void add_dx(T* dx, const T* dout, const T* x, const T* weight, float offset, float mean, float rstd,
                          bool centered, int64_t cols) {
  vec total = {}, total_x = {};
  for_vectors(cols, [&](int64_t i, int64_t n) {
    const vec g = get(dout + i, n) * (offset + get(weight + i, n));
    total += g;
    total_x = fma(g, (get(x + i, n) - mean) * rstd, total_x);
  });
  const float mean_g = centered ? sum(total) / float(cols) : 0.0f, mean_gx = sum(total_x) / float(cols);
  for_vectors(cols, [&](int64_t i, int64_t n) {
    const vec g = get(dout + i, n) * (offset + get(weight + i, n)), normed = (get(x + i, n) - mean) * rstd;
    put(dx + i, fma(splat(rstd), fma(normed, splat(-mean_gx), g - mean_g), get(dx + i, n)), n);
  });
}

// out = x · rstd · (offset + weight)
template <class T>
static inline void scale_row(T* out, const T* x, const T* weight, float offset, float rstd, int64_t cols) {
  for_vectors(cols,
              [&](int64_t i, int64_t n) { put(out + i, get(x + i, n) * rstd * (offset + get(weight + i, n)), n); });
}

// dweight[c] += Σ_n dout[n, c] x̂[n, c],   dbias[c] += Σ_n dout[n, c] unless null; mean may be null.
template <class T>
void add_dweight(const Context& context, float* dweight, float* dbias, const T* dout, const T* x, int64_t rows,
                 int64_t cols, const float* mean, const float* rstd) {
  for_spans(context, ceil_div(cols, kLanes), 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kLanes; i < smaller(end * kLanes, cols); i += kLanes) {
      const int64_t n = smaller(kLanes, cols - i);
      vec weight_total = {}, bias_total = {};
      for (int64_t block = 0; block < rows; block += kRowBlock) {
        vec w = {}, b = {};
        for (int64_t r = block; r < smaller(rows, block + kRowBlock); ++r) {
          const vec g = get(dout + r * cols + i, n);
          w = fma(g, (get(x + r * cols + i, n) - (mean == nullptr ? 0.0f : mean[r])) * rstd[r], w);
          b += g;
        }
        weight_total += w;
        bias_total += b;
      }
      put(dweight + i, get(dweight + i, n) + weight_total, n);
      if (dbias != nullptr) put(dbias + i, get(dbias + i, n) + bias_total, n);
    }
  });
}

}  // namespace

void run(Context& context, const op::LayerNorm& op) {
  const int64_t cols = op.x.cols;
  with_type(op.x, [&](const auto* all) {
    const auto *const weight = as(all, op.weight), *const bias = as(all, op.bias);
    for_rows(context, op.x.rows, cols, [&](int64_t r) {
      const auto* x = all + r * cols;
      auto* const out = as(all, op.out) + r * cols;
      const float mean = mean_of(x, cols), rstd = 1.0f / __builtin_sqrtf(mean_square(x, cols, mean) + op.eps);
      floats(op.mean)[r] = mean;
      floats(op.rstd)[r] = rstd;
      for_vectors(cols, [&](int64_t i, int64_t n) {
        const vec normed = (get(x + i, n) - mean) * rstd;
        put(out + i, fma(normed, get(weight + i, n), get(bias + i, n)), n);
      });
    });
  });
}

void run(Context& context, const op::LayerNormBackward& op) {
  const int64_t rows = op.x.rows, cols = op.x.cols;
  with_type(op.x, [&](const auto* x) {
    const auto *const dout = as(x, op.dout), *const weight = as(x, op.weight);
    if (op.dweight.rows != 0)
      add_dweight(context, floats(op.dweight), floats(op.dbias), dout, x, rows, cols, floats(op.mean), floats(op.rstd));
    for_rows(context, rows, cols, [&](int64_t r) {
      add_dx(as(x, op.dx) + r * cols, dout + r * cols, x + r * cols, weight, 0.0f, floats(op.mean)[r],
             floats(op.rstd)[r], true, cols);
    });
  });
}

void run(Context& context, const op::RmsNorm& op) {
  const int64_t cols = op.x.cols;
  with_type(op.x, [&](const auto* all) {
    const auto* const weight = as(all, op.weight);
    for_rows(context, op.x.rows, cols, [&](int64_t r) {
      const auto* x = all + r * cols;
      auto* const out = as(all, op.out) + r * cols;
      const float rstd = 1.0f / __builtin_sqrtf(mean_square(x, cols, 0.0f) + op.eps);
      floats(op.rstd)[r] = rstd;
      scale_row(out, x, weight, op.offset, rstd, cols);
    });
  });
}

void run(Context& context, const op::RmsNormBackward& op) {
  const int64_t rows = op.x.rows, cols = op.x.cols;
  with_type(op.x, [&](const auto* x) {
    const auto *const dout = as(x, op.dout), *const weight = as(x, op.weight);
    if (op.dweight.rows != 0)
      add_dweight(context, floats(op.dweight), static_cast<float*>(nullptr), dout, x, rows, cols,
                  static_cast<float*>(nullptr), floats(op.rstd));
    for_rows(context, rows, cols, [&](int64_t r) {
      add_dx(as(x, op.dx) + r * cols, dout + r * cols, x + r * cols, weight, op.offset, 0.0f, floats(op.rstd)[r], false,
             cols);
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
