// Parts of a matrix's columns.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::AddColumns& op) {
  const int64_t cols = op.x.cols, stride = op.out.cols;
  with_type(op.out, [&](auto* all) {
    for_rows(context, op.x.rows, cols, [&](int64_t r) {
      auto* const out = all + r * stride + op.first;
      const auto* const x = as(all, op.x) + r * cols;
      for_vectors(cols,
                  [&](int64_t i, int64_t n) { put(out + i, fma(splat(op.scale), get(x + i, n), get(out + i, n)), n); });
    });
  });
}

void run(Context& context, const op::TakeColumns& op) {
  const int64_t cols = op.out.cols, stride = op.x.cols;
  with_type(op.x, [&](const auto* all) {
    for_rows(context, op.out.rows, cols, [&](int64_t r) {
      const auto* const x = all + r * stride + op.first;
      auto* const out = as(all, op.out) + r * cols;
      for_vectors(cols, [&](int64_t i, int64_t n) { put(out + i, splat(op.scale) * get(x + i, n), n); });
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
