// Matrix products, and the gradient of a bias. A product with one column, which would leave most of a tile empty, has a
// kernel of its own.
#include "native/cpu/level.h"
// level.h comes first in every kernel source.
#include "native/cpu/gemm_blocks.h"

namespace heed::cpu::HEED_LEVEL {
namespace {

template <class P>
struct PackWeight {
  const P* product;
  int threads;

  static void pack(void* context, float* out) {
    const PackWeight& w = *static_cast<PackWeight*>(context);
    const P& p = *w.product;
    parallel_for(w.threads, panels_of(p.n),
                 [&](int64_t j) { pack_b(p, out + j * p.steps * kTileCols, j * kTileCols, 0, p.steps); });
  }
};

int64_t steps_of(const op::Gemm& op) {
  const int64_t k = op.transpose_a ? op.a.rows : op.a.cols;
  return op.a.dtype == DType::bf16 ? ceil_div(k, Bf16Steps::kTerms) : k;
}

template <class Steps, class T>
void multiply(Context& context, const op::Gemm& op, const typename Steps::Type* a, T* out) {
  Product<Steps, T> p{};
  p.m = op.out.rows;
  p.n = op.out.cols;
  p.k = op.transpose_a ? op.a.rows : op.a.cols;
  if (p.m == 0) return;
  p.steps = steps_of(op);
  p.depth = depth_of(p.steps);
  p.a = {a, op.a.cols, op.transpose_a};
  p.b = {as(a, op.b), op.b.cols, op.transpose_b};
  p.out = out;
  p.add = op.accumulate ? out : op.residual.rows != 0 ? as(out, op.residual) : nullptr;
  p.bias = op.bias.rows != 0 ? as(out, op.bias) : nullptr;
  if (op.weight && p.k != 0) {
    PackWeight<Product<Steps, T>> pack{&p, context.threads};
    p.packed_b = context.packs.get(op.b, op.transpose_b, packed_floats(op), pack.pack, &pack);
  }
  const Workspace workspace = context.workspace(need(context, op));
  multiply_blocks(context, p, workspace);
}

// A product with one column, such as a scalar head's, cannot fill a tile: the rows of a are read once, in place.
bool is_column(const op::Gemm& op) {
  return op.out.cols == 1 && !op.transpose_a;
}

// A row is summed in lanes by k modulo the vector width, then over the lanes, independently of the other rows.
template <class A, class T>
void multiply_column(Context& context, const op::Gemm& op, const A* a, T* out) {
  const int64_t m = op.a.rows, k = op.a.cols;
  const A* const b = as(a, op.b);
  const T* const bias = op.bias.rows != 0 ? as(out, op.bias) : nullptr;
  const T* const add = op.accumulate ? out : op.residual.rows != 0 ? as(out, op.residual) : nullptr;
  const int64_t groups = ceil_div(m, kLanes),
                tasks = smaller(context.threads, ceil_div(m * (k + 1), 2 * kTaskElements));
  parallel_for(context.threads, tasks, [&](int64_t task) {
    for (int64_t row = groups * task / tasks * kLanes, end = smaller(m, groups * (task + 1) / tasks * kLanes);
         row < end; row += kLanes) {
      const int64_t rows = smaller(kLanes, m - row);
      vec sums[kLanes] = {};
      // Four chains of sums hide their latency; more rows at once would be more streams than the hardware prefetches.
      for (int64_t i = 0; i < rows; i += 4) {
        const A* from[4];
        vec s[4] = {};
        for (int64_t r = 0; r < 4; ++r) from[r] = a + (row + smaller(i + r, rows - 1)) * k;
        for_vectors(k, [&](int64_t c, int64_t n) {
          const vec x = get(b + c, n);
          HEED_UNROLL
          for (int r = 0; r < 4; ++r) s[r] = fma(get(from[r] + c, n), x, s[r]);
        });
        for (int64_t r = 0; r < 4; ++r) sums[i + r] = s[r];
      }
      transpose(sums);
      vec total = sums[0];
      HEED_UNROLL
      for (int i = 1; i < kLanes; ++i) total += sums[i];
      if (bias != nullptr) total += value(*bias);
      if (add != nullptr) total += get(add + row, rows);
      put(out + row, total, rows);
    }
  });
}

constexpr int64_t kBiasRows = 128;  // rows summed before they are added to the total

}  // namespace

int64_t packed_floats(const op::Gemm& op) {
  return is_column(op) ? 0 : panels_of(op.out.cols) * kTileCols * steps_of(op);
}

Need need(const Context&, const op::Gemm& op) {
  if (is_column(op)) return {};
  return {.own = TaskMemory(op.out.rows, op.out.cols, steps_of(op), op.out.dtype == DType::bf16, 0, nullptr).floats};
}

void run(Context& context, const op::Gemm& op) {
  if (is_column(op))
    with_type(op.a,
              [&](const auto* a) { with_type(op.out, [&](auto* out) { multiply_column(context, op, a, out); }); });
  else if (op.a.dtype == DType::f32)
    multiply<Single<float>>(context, op, floats(op.a), floats(op.out));
  else
    with_type(op.out, [&](auto* out) { multiply<Bf16Steps>(context, op, static_cast<bf16*>(op.a.data), out); });
}

Need need(const Context&, const op::BiasBackward& op) {
  return {.shared = ceil_div(op.dout.rows, kBiasRows) * ceil_div(op.dout.cols, kLanes) * kLanes};
}

// Rows are summed in blocks of a fixed size, and the sums of blocks in order: bit-identical for any number of threads.
void run(Context& context, const op::BiasBackward& op) {
  const int64_t m = op.dout.rows, n = op.dout.cols, blocks = ceil_div(m, kBiasRows),
                stride = ceil_div(n, kLanes) * kLanes;
  if (m == 0) return;
  float* const sums = context.workspace(need(context, op)).shared;
  with_type(op.dout, [&](const auto* dout) {
    parallel_for(m * n < kTaskElements ? 1 : context.threads, blocks, [&](int64_t block) {
      float* const sum = sums + block * stride;
      const int64_t end = smaller(m, (block + 1) * kBiasRows);
      for (int64_t c = 0; c < stride; c += kLanes) store(sum + c, vec{});
      for (int64_t row = block * kBiasRows; row < end; row += 4) {
        const auto* x = dout + row * n;
        const int64_t rows = smaller(4, end - row);
        for (int64_t c = 0; c < n; c += kLanes) {
          vec total = load(sum + c);
          HEED_UNROLL
          for (int i = 0; i < 4; ++i)
            if (i < rows) total += load_part(x + i * n + c, n - c);
          store(sum + c, total);
        }
      }
    });
  });
  for (int64_t c = 0; c < n; c += kLanes) {
    vec total{};
    for (int64_t block = 0; block < blocks; ++block) total += load(sums + block * stride + c);
    float* const dbias = floats(op.dbias) + c;
    store_part(dbias, load_part(dbias, n - c) + total, n - c);
  }
}

}  // namespace heed::cpu::HEED_LEVEL
