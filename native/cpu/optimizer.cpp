// AdamW, the norm of a gradient, and moving averages: all memory-bound.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {

// Partial sums whose number and size depend only on the tensor's size, added in order.
void run(Context& context, const op::SquaredNorm& op) {
  constexpr int64_t kMaxParts = 256;
  constexpr int kHalf = kLanes / 2;
  typedef float half __attribute__((vector_size(4 * kHalf)));
  typedef double dvec __attribute__((vector_size(8 * kHalf)));
  const int64_t size = op.x.rows * op.x.cols;
  const int64_t span = (size / kMaxParts / kTaskElements + 1) * kTaskElements;
  double parts[kMaxParts];
  for_spans(context, size, span, [&](int64_t begin, int64_t end) {
    const float* x = floats(op.x);
    dvec total[4] = {};
    int64_t i = begin;
    for (; i + 4 * kHalf <= end; i += 4 * kHalf)
      for (int k = 0; k < 4; ++k) {
        half h;
        memcpy(&h, x + i + k * kHalf, sizeof h);
        const dvec d = __builtin_convertvector(h, dvec);
        total[k] += d * d;
      }
    const dvec all = (total[0] + total[1]) + (total[2] + total[3]);
    double part = 0;
    for (int k = 0; k < kHalf; ++k) part += all[k];
    for (; i < end; ++i) part += double(x[i]) * double(x[i]);
    parts[begin / span] = part;
  });
  double sum = 0;
  for (int64_t i = 0; i < ceil_div(size, span); ++i) sum += parts[i];
  *static_cast<double*>(op.sum.data) = sum;
}

// The weight in f32, or the parameter if it was written after the last step.
static inline vec current(vec weight, vec param) {
  return widen(narrow(weight)) == param ? weight : param;
}

void run(Context& context, const op::AdamW& op) {
  const math::AdamWStep step{.learning_rate = op.learning_rate,
                             .beta1 = op.beta1,
                             .beta2 = op.beta2,
                             .eps = op.eps,
                             .weight_decay = op.weight_decay,
                             .inverse_correction1 = 1.0f / op.correction1,
                             .inverse_correction2 = 1.0f / op.correction2,
                             .grad_scale = op.grad_scale};
  for_spans(context, op.weight.rows * op.weight.cols, kTaskElements, [&](int64_t begin, int64_t end) {
    float* __restrict weight = floats(op.weight);
    float* __restrict m = floats(op.m);
    float* __restrict v = floats(op.v);
    const float* __restrict grad = floats(op.grad);
    bf16* const param = op.param.rows == 0 ? nullptr : static_cast<bf16*>(op.param.data) + begin;
    if (param != nullptr)
      for_vectors(end - begin, [&](int64_t i, int64_t n) {
        put(weight + begin + i, current(get(weight + begin + i, n), get(param + i, n)), n);
      });
    for (int64_t i = begin; i < end; ++i) math::adamw_element(weight[i], m[i], v[i], grad[i], step);
    if (param != nullptr)
      for_vectors(end - begin, [&](int64_t i, int64_t n) { put(param + i, get(weight + begin + i, n), n); });
  });
}

void run(Context& context, const op::Lerp& op) {
  with_type(op.out, [&](auto* out) {
    bf16* const param = op.param.rows == 0 ? nullptr : static_cast<bf16*>(op.param.data);
    for_spans(context, op.out.rows * op.out.cols, kTaskElements, [&](int64_t begin, int64_t end) {
      for_vectors(end - begin, [&](int64_t offset, int64_t n) {
        const int64_t i = begin + offset;
        vec before = get(out + i, n);
        if (param != nullptr) before = current(before, get(param + i, n));
        const vec after = before + op.weight * (get(as(out, op.x) + i, n) - before);
        put(out + i, after, n);
        if (param != nullptr) put(param + i, after, n);
      });
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
