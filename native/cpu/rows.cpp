// Row gather and scatter.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::GatherRows& op) {
  const int64_t cols = op.x.cols;
  for_rows(context, op.out.rows, cols, [&](int64_t r) {
    memcpy(floats(op.out) + r * cols, floats(op.x) + ints(op.rows)[r] * cols, size_t(cols) * sizeof(float));
  });
}

// By columns: a row may occur several times, and its terms are added in the order of r whoever does it.
void run(Context& context, const op::ScatterRowsAdd& op) {
  const int64_t cols = op.dx.cols;
  for_spans(context, cols, 128, [&](int64_t begin, int64_t end) {
    for (int64_t r = 0; r < op.dout.rows; ++r) {
      const float* dout = floats(op.dout) + r * cols;
      float* dx = floats(op.dx) + ints(op.rows)[r] * cols;
      for (int64_t c = begin; c < end; ++c) dx[c] += dout[c];
    }
  });
}

}  // namespace heed::cpu::HEED_LEVEL
