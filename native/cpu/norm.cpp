// LayerNorm and RMSNorm: rows over the pool; the gradients of weight and bias by columns, so that each is summed by one
// task over the rows in their order, in blocks of rows to keep the rounding small.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"

namespace heed::cpu::HEED_LEVEL {

namespace {

constexpr int64_t kRowBlock = 64;  // rows summed before they join the total

static inline float mean_of(const float* x, int64_t cols) {
  vec total = {};
  for_vectors(cols, [&](int64_t i, int64_t n) { total += get(x + i, n); });
  return sum(total) / float(cols);
}
static inline float mean_square(const float* x, int64_t cols, float center) {
  vec total = {};
  for_vectors(cols, [&](int64_t i, int64_t n) {
    const vec d = get(x + i, n, center) - center;
    total = fma(d, d, total);
  });
  return sum(total) / float(cols);
}

// With x̂ = (x - mean) rstd and g = dout · weight:
//   LayerNorm  dx += rstd (g - mean(g) - x̂ mean(g x̂))
//   RMSNorm    dx += rstd (g - x̂ mean(g x̂)), with mean = 0
static inline void add_dx(float* dx, const float* dout, const float* x, const float* weight, float mean, float rstd,
                          bool centered, int64_t cols) {
  vec total = {}, total_x = {};
  for_vectors(cols, [&](int64_t i, int64_t n) {
    const vec g = get(dout + i, n) * get(weight + i, n);
    total += g;
    total_x = fma(g, (get(x + i, n) - mean) * rstd, total_x);
  });
  const float mean_g = centered ? sum(total) / float(cols) : 0.0f, mean_gx = sum(total_x) / float(cols);
  for_vectors(cols, [&](int64_t i, int64_t n) {
    const vec g = get(dout + i, n) * get(weight + i, n), normed = (get(x + i, n) - mean) * rstd;
    put(dx + i, fma(splat(rstd), fma(normed, splat(-mean_gx), g - mean_g), get(dx + i, n)), n);
  });
}

// dweight[c] += Σ_n dout[n, c] x̂[n, c],   dbias[c] += Σ_n dout[n, c] unless null; mean may be null.
void add_dweight(const Context& context, float* dweight, float* dbias, const Tensor& dout, const Tensor& x,
                 const float* mean, const float* rstd) {
  const int64_t rows = x.rows, cols = x.cols;
  for_spans(context, ceil_div(cols, kLanes), 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kLanes; i < smaller(end * kLanes, cols); i += kLanes) {
      const int64_t n = smaller(kLanes, cols - i);
      vec weight_total = {}, bias_total = {};
      for (int64_t block = 0; block < rows; block += kRowBlock) {
        vec w = {}, b = {};
        for (int64_t r = block; r < smaller(rows, block + kRowBlock); ++r) {
          const vec g = get(floats(dout) + r * cols + i, n);
          w = fma(g, (get(floats(x) + r * cols + i, n) - (mean == nullptr ? 0.0f : mean[r])) * rstd[r], w);
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
  for_rows(context, op.x.rows, cols, [&](int64_t r) {
    const float* x = floats(op.x) + r * cols;
    const float mean = mean_of(x, cols), rstd = 1.0f / __builtin_sqrtf(mean_square(x, cols, mean) + op.eps);
    floats(op.mean)[r] = mean;
    floats(op.rstd)[r] = rstd;
    for_vectors(cols, [&](int64_t i, int64_t n) {
      const vec normed = (get(x + i, n) - mean) * rstd;
      put(floats(op.out) + r * cols + i, fma(normed, get(floats(op.weight) + i, n), get(floats(op.bias) + i, n)), n);
    });
  });
}

void run(Context& context, const op::LayerNormBackward& op) {
  const int64_t cols = op.x.cols;
  add_dweight(context, floats(op.dweight), floats(op.dbias), op.dout, op.x, floats(op.mean), floats(op.rstd));
  for_rows(context, op.x.rows, cols, [&](int64_t r) {
    add_dx(floats(op.dx) + r * cols, floats(op.dout) + r * cols, floats(op.x) + r * cols, floats(op.weight),
           floats(op.mean)[r], floats(op.rstd)[r], true, cols);
  });
}

void run(Context& context, const op::RmsNorm& op) {
  const int64_t cols = op.x.cols;
  for_rows(context, op.x.rows, cols, [&](int64_t r) {
    const float* x = floats(op.x) + r * cols;
    const float rstd = 1.0f / __builtin_sqrtf(mean_square(x, cols, 0.0f) + op.eps);
    floats(op.rstd)[r] = rstd;
    for_vectors(cols, [&](int64_t i, int64_t n) {
      put(floats(op.out) + r * cols + i, get(x + i, n) * rstd * get(floats(op.weight) + i, n), n);
    });
  });
}

void run(Context& context, const op::RmsNormBackward& op) {
  const int64_t cols = op.x.cols;
  add_dweight(context, floats(op.dweight), nullptr, op.dout, op.x, nullptr, floats(op.rstd));
  for_rows(context, op.x.rows, cols, [&](int64_t r) {
    add_dx(floats(op.dx) + r * cols, floats(op.dout) + r * cols, floats(op.x) + r * cols, floats(op.weight), 0.0f,
           floats(op.rstd)[r], false, cols);
  });
}

}  // namespace heed::cpu::HEED_LEVEL
