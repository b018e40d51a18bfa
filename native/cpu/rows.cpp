// Row gather and scatter, and conversion of element types.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::GatherRows& op) {
  const size_t bytes = size_t(op.x.cols * size_of(op.x.dtype));
  for_rows(context, op.out.rows, op.x.cols, [&](int64_t r) {
    memcpy(static_cast<char*>(op.out.data) + size_t(r) * bytes,
           static_cast<char*>(op.x.data) + size_t(ints(op.rows)[r]) * bytes, bytes);
  });
}

Need need(const Context&, const op::ScatterRowsAdd& op) {
  return {.shared = op.dx.rows + 2 * op.dout.rows};
}

// A row may occur several times: one task adds its terms in the order of r, and rounds the sum once.
void run(Context& context, const op::ScatterRowsAdd& op) {
  const int64_t cols = op.dx.cols, N = op.dx.rows, R = op.dout.rows;
  int32_t* const last =
      reinterpret_cast<int32_t*>(context.workspace(need(context, op)).shared);  // each row's last term so far
  int32_t* const next = last + N;                                               // the next term of the same row, or -1
  int32_t* const firsts = next + R;  // the first term of each row that occurs
  const int32_t* const rows = ints(op.rows);
  memset(last, 0xff, size_t(N) * sizeof *last);
  int64_t count = 0;
  for (int64_t r = 0; r < R; ++r) {
    int32_t& before = last[rows[r]];
    if (before < 0)
      firsts[count++] = int32_t(r);
    else
      next[before] = int32_t(r);
    before = int32_t(r);
    next[r] = -1;
  }
  with_type(op.dx, [&](auto* all) {
    for_rows(context, count, cols, [&](int64_t i) {
      auto* const dx = all + rows[firsts[i]] * cols;
      for_vectors(cols, [&](int64_t c, int64_t n) {
        vec total = get(dx + c, n);
        for (int32_t r = firsts[i]; r >= 0; r = next[r]) total += get(as(all, op.dout) + r * cols + c, n);
        put(dx + c, total, n);
      });
    });
  });
}

void run(Context& context, const op::Convert& op) {
  with_type(op.x, [&](const auto* x) {
    with_type(op.out, [&](auto* out) {
      for_spans(context, op.x.rows * op.x.cols, kTaskElements, [&](int64_t begin, int64_t end) {
        for_vectors(end - begin, [&](int64_t i, int64_t n) { put(out + begin + i, get(x + begin + i, n), n); });
      });
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
