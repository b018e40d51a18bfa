// Attention over trees of segments, forward and backward.
#include "test/native/device.h"
#include "test/native/reference_attention.h"

namespace heed {
namespace {

using namespace heed::testing;
using reference::relative_error;
using Problem = reference::Attention;

Problem problem(int64_t heads, int64_t kv_heads, int64_t dim, std::vector<int32_t> cu_seqlens,
                std::vector<int32_t> parent, double scale = 1, int64_t window = 0) {
  Problem p{heads, kv_heads, dim, std::move(cu_seqlens), std::move(parent), {}, window, 0, 0};
  p.qkv = reference::random_normal(size_t(p.tokens() * p.row()), unsigned(heads * 1000 + dim), scale);
  return p;
}

// Scores with another factor, and with a cap that bends them.
Problem with_scores(Problem p, double scale, double softcap) {
  p.scale = float(scale);
  p.softcap = softcap;
  return p;
}

// Single and packed sequences, head widths that are not multiples of the vector width, grouped queries, trees.
std::vector<Problem> problems() {
  return {
      problem(1, 1, 4, {0, 1}, {-1}),
      problem(2, 2, 12, {0, 7}, {-1}),
      problem(3, 1, 24, {0, 33}, {-1}),
      problem(2, 1, 32, {0, 257}, {-1}),
      problem(4, 4, 32, {0, 128, 129, 190}, {-1, -1, -1}),
      problem(8, 2, 16, {0, 5, 5, 70}, {-1, 0, 0}),                              // an empty segment
      problem(2, 2, 80, {0, 20, 30, 45}, {-1, 0, 0}),                            // one prompt, two responses
      problem(4, 2, 64, {0, 9, 40, 41, 60, 75, 90}, {-1, 0, 1, -1, 0, 3}),       // depth 3; two trees, interleaved
      problem(7, 7, 8, {0, 1, 2, 3, 4, 5, 6, 7, 8}, {-1, 0, 1, 2, 3, 4, 5, 6}),  // a chain of single tokens
      problem(2, 2, 20, {0, 37, 64, 101, 130, 131}, {-1, 0, 1, 1, -1}, 4),       // sharp distributions
      problem(2, 1, 24, {0, 90}, {-1}, 1, 1),                                    // windows: of a query alone,
      problem(4, 2, 16, {0, 300, 307}, {-1, -1}, 1, 7),                          // off the vector width,
      problem(2, 2, 32, {0, 513}, {-1}, 1, 64),                                  // on it,
      problem(4, 2, 12, {0, 40, 81, 130, 131, 260}, {-1, 0, 1, 0, 0}, 1, 33),    // that cut ancestors off,
      problem(1, 1, 8, {0, 70, 90}, {-1, -1}, 1, 71),                            // and longer than the path
      with_scores(problem(2, 1, 24, {0, 70}, {-1}), 0.3, 0),
      with_scores(problem(3, 3, 20, {0, 37, 64, 101}, {-1, 0, 0}), 0, 0.75),
      with_scores(problem(2, 1, 64, {0, 40, 90, 130}, {-1, 0, -1}, 2, 33), 0.2, 2),
  };
}

struct Output {
  std::vector<float> out, lse, dqkv;
};

Output run(Device& device, const Problem& p, const std::vector<double>& dout = {}) {
  const Tensor qkv = device.tensor(p.qkv, p.tokens(), p.row());
  const Tensor out = device.out(p.tokens(), p.heads * p.dim), lse = device.nan(p.tokens(), p.heads);
  const Tensor cu_seqlens = device.i32(p.cu_seqlens, p.segments() + 1), parent = device.i32(p.parent, p.segments());
  device.run(op::Attention{.out = out,
                           .lse = lse,
                           .qkv = qkv,
                           .cu_seqlens = cu_seqlens,
                           .parent = parent,
                           .num_heads = p.heads,
                           .num_kv_heads = p.kv_heads,
                           .max_path = p.max_path(),
                           .window = p.window,
                           .scale = float(p.scale),
                           .softcap = float(p.softcap)});
  Output result{device.floats(out), device.floats(lse), {}};
  if (dout.empty()) return result;
  const Tensor dqkv = device.out(p.tokens(), p.row());
  device.run(op::AttentionBackward{.dqkv = dqkv,
                                   .dout = device.tensor(dout, p.tokens(), p.heads * p.dim),
                                   .out = out,
                                   .lse = lse,
                                   .qkv = qkv,
                                   .cu_seqlens = cu_seqlens,
                                   .parent = parent,
                                   .num_heads = p.heads,
                                   .num_kv_heads = p.kv_heads,
                                   .max_path = p.max_path(),
                                   .window = p.window,
                                   .scale = float(p.scale),
                                   .softcap = float(p.softcap)});
  result.dqkv = device.floats(dqkv);
  return result;
}

std::vector<double> random_dout(const Problem& p) {
  return reference::random_normal(size_t(p.tokens() * p.heads * p.dim), 99);
}

// Rows of a (rows, cols) matrix in another order.
template <class T>
std::vector<T> take_rows(const std::vector<T>& values, int64_t cols, const std::vector<int64_t>& rows) {
  std::vector<T> result;
  for (const int64_t r : rows) result.insert(result.end(), values.begin() + r * cols, values.begin() + (r + 1) * cols);
  return result;
}

TEST(Attention, EqualsTheFormula) {
  on_every_device([](Device& device) {
    for (const Problem& p : problems()) {
      SCOPED_TRACE("heads " + std::to_string(p.heads) + ", dim " + std::to_string(p.dim));
      const Problem::Result expected = p.forward();
      const Output actual = run(device, p);
      EXPECT_LT(relative_error(actual.out, expected.out), device.bound(expected.out, 1e-6));
      EXPECT_LT(relative_error(actual.lse, expected.lse), 1e-6);
    }
  });
}

TEST(Attention, LargeScoresStayFinite) {
  on_every_device([](Device& device) {
    const Problem p = problem(2, 2, 32, {0, 50}, {-1}, 100);
    EXPECT_LT(relative_error(run(device, p).out, p.forward().out), 1e-3 + device.bound(p.forward().out, 0));
  });
}

TEST(Attention, SameBitsWithAnyThreads) {
  for (const Problem& p : problems()) {
    if (too_slow(p.tokens() * p.tokens() * p.heads * p.dim)) continue;
    const std::vector<double> dout = random_dout(p);
    expect_same_bits_with_any_threads([&](Device& device) { return run(device, p).out; });
    expect_same_bits_with_any_threads([&](Device& device) { return run(device, p, dout).dqkv; });
  }
}

// However a sequence is split into a chain of segments.
TEST(Attention, SameBitsWithAnyCuts) {
  on_every_device([](Device& device) {
    for (const int64_t window : {0, 19, 1, 96}) {
      if (kSlowness > 1 && window != 0 && window != 19) continue;
      const Problem whole = problem(4, 2, 32, {0, 200}, {-1}, 1, window);
      const Output expected = run(device, whole);
      for (const std::vector<int32_t>& cuts :
           {std::vector<int32_t>{0, 37, 200}, {0, 1, 2, 200}, {0, 64, 128, 200}, {0, 100, 100, 199, 200}}) {
        Problem cut = whole;
        cut.cu_seqlens = cuts;
        cut.parent.clear();
        for (int32_t s = 0; s + 1 < int32_t(cuts.size()); ++s) cut.parent.push_back(s - 1);
        const Output actual = run(device, cut);
        EXPECT_TRUE(equal_bits(expected.out, actual.out)) << "window " << window;
        EXPECT_TRUE(equal_bits(expected.lse, actual.lse)) << "window " << window;
      }
    }
  });
}

// A sequence alone, first or last in a pack, or as the long prompt's second response.
TEST(Attention, SameBitsInAnyBatch) {
  on_every_device([](Device& device) {
    for (const int64_t window : {0, 40}) {
      const int64_t dim = 24, heads = 3;
      const Problem pack = problem(heads, 3, dim, {0, 61, 100, 150, 163}, {-1, 0, 0, -1}, 1, window);
      std::vector<int64_t> second;  // the prompt, then its second response
      for (int64_t t = 0; t < 61; ++t) second.push_back(t);
      for (int64_t t = 100; t < 150; ++t) second.push_back(t);
      std::vector<int64_t> others;
      for (int64_t t = 150; t < 163; ++t) others.push_back(t);

      Problem alone = pack, last = pack;
      alone.cu_seqlens = {0, 111};
      alone.parent = {-1};
      alone.qkv = take_rows(pack.qkv, pack.row(), second);
      std::vector<int64_t> order = others;
      order.insert(order.end(), second.begin(), second.end());
      last.cu_seqlens = {0, 13, 13 + 111};
      last.parent = {-1, -1};
      last.qkv = take_rows(pack.qkv, pack.row(), order);

      const std::vector<float> expected = take_rows(run(device, pack).out, heads * dim, second);
      EXPECT_TRUE(equal_bits(expected, run(device, alone).out));
      const std::vector<float> at_the_end = run(device, last).out;
      EXPECT_TRUE(equal_bits(expected, {at_the_end.begin() + 13 * heads * dim, at_the_end.end()}));
    }
  });
}

// A window at least as long as the path hides nothing, and is bit-identical to no window.
TEST(Attention, AWindowAsLongAsThePathIsNoWindow) {
  on_every_device([](Device& device) {
    Problem p = problem(4, 2, 24, {0, 37, 64, 101, 130, 131}, {-1, 0, 1, 1, -1});
    const std::vector<double> dout = random_dout(p);
    const Output expected = run(device, p, dout);
    for (const int64_t window : {p.max_path(), p.max_path() + 1, int64_t{1} << 40}) {
      p.window = window;
      const Output actual = run(device, p, dout);
      EXPECT_TRUE(equal_bits(expected.out, actual.out));
      EXPECT_TRUE(equal_bits(expected.lse, actual.lse));
      EXPECT_TRUE(equal_bits(expected.dqkv, actual.dqkv));
    }
  });
}

// Positions far outside the window are not even read: they may be NaN.
TEST(Attention, SkipsPositionsOutsideTheWindow) {
  on_every_device([](Device& device) {
    const int64_t window = 50, hidden = 64,
                  tiles = 256;  // maximum number of keys and queries that a kernel processes together
    Problem p = problem(2, 1, 16, {0, 60, 400}, {-1, 0}, 1, window), spoilt = p;
    for (int64_t i = 0; i < hidden * p.row(); ++i) spoilt.qkv[size_t(i)] = std::numeric_limits<double>::quiet_NaN();
    const int64_t first = (hidden + window + tiles) * p.heads * p.dim;
    const std::vector<float> expected = run(device, p).out, actual = run(device, spoilt).out;
    EXPECT_TRUE(equal_bits({expected.begin() + first, expected.end()}, {actual.begin() + first, actual.end()}));
  });
}

TEST(AttentionBackward, ReferenceEqualsCentralDifferences) {
  for (Problem p : {problem(2, 1, 5, {0, 7}, {-1}), problem(4, 2, 4, {0, 3, 5, 6, 8, 10}, {-1, 0, 1, 0, -1}),
                    problem(4, 2, 4, {0, 3, 5, 6, 8, 10}, {-1, 0, 1, 0, -1}, 1, 4),
                    with_scores(problem(2, 1, 4, {0, 3, 8}, {-1, 0}), 0.7, 1.5)}) {
    const std::vector<double> dout = random_dout(p), analytic = p.backward(dout);
    const std::vector<double> numeric = reference::central_differences(p.qkv, [&] {
      const std::vector<double> out = p.forward().out;
      double sum = 0;
      for (size_t i = 0; i < out.size(); ++i) sum += out[i] * dout[i];
      return sum;
    });
    EXPECT_LT(relative_error(analytic, numeric), 1e-8);
  }
}

// In bf16 the op's input out is rounded, which changes δ: the bound includes the effect of that rounding on the
// reference.
TEST(AttentionBackward, EqualsTheFormula) {
  on_every_device([](Device& device) {
    for (const Problem& p : problems()) {
      SCOPED_TRACE("heads " + std::to_string(p.heads) + ", dim " + std::to_string(p.dim));
      const std::vector<double> dout = random_dout(p), expected = p.backward(dout);
      std::vector<double> out = p.forward().out;
      for (double& x : out) x = reference::exact(x);
      const double of_out = relative_error(p.backward(dout, &out), expected);
      EXPECT_LT(relative_error(run(device, p, dout).dqkv, expected), device.bound(expected, 2e-6) + 2 * of_out);
    }
  });
}

// One prompt with three responses against three complete sequences: the prompt's gradients add up.
TEST(AttentionBackward, SharedPromptEqualsCopies) {
  on_every_device([](Device& device) {
    const int64_t prompt = 45, response = 30;
    for (const int64_t window : {0, 35}) {
      const Problem shared = problem(4, 2, 32, {0, 45, 75, 105, 135}, {-1, 0, 0, 0}, 1, window);
      const std::vector<double> dout = random_dout(shared);
      std::vector<double> copies_dout;
      Problem copies = shared;
      copies.cu_seqlens = {0, 75, 150, 225};
      copies.parent = {-1, -1, -1};
      copies.qkv.clear();
      const int64_t out_row = shared.heads * shared.dim;
      for (int64_t k = 0; k < 3; ++k)
        for (int64_t t = 0; t < prompt + response; ++t) {
          const int64_t from = t < prompt ? t : t + k * response;
          const std::vector<double> row = take_rows(shared.qkv, shared.row(), {from}),
                                    g = take_rows(dout, out_row, {from});
          copies.qkv.insert(copies.qkv.end(), row.begin(), row.end());
          // The prompt's own outputs count once.
          for (const double x : g) copies_dout.push_back(t < prompt && k > 0 ? 0 : x);
        }
      const std::vector<float> actual = run(device, shared, dout).dqkv, parts = run(device, copies, copies_dout).dqkv;
      std::vector<double> expected(actual.size());
      for (int64_t k = 0; k < 3; ++k)
        for (int64_t t = 0; t < prompt + response; ++t)
          for (int64_t c = 0; c < shared.row(); ++c)
            expected[size_t((t < prompt ? t : t + k * response) * shared.row() + c)] +=
                double(parts[size_t((k * (prompt + response) + t) * shared.row() + c)]);
      EXPECT_LT(relative_error(actual, expected), 1e-6 + 1.5 * device.bound(expected, 0));  // both were rounded
    }
  });
}

TEST(Attention, RefusesWrongShapes) {
  op::Attention op{.out = shape(10, 8),
                   .lse = shape(10, 2),
                   .qkv = shape(10, 24),
                   .cu_seqlens = shape(3, 1, DType::i32),
                   .parent = shape(2, 1, DType::i32),
                   .num_heads = 2,
                   .num_kv_heads = 2,
                   .max_path = 10};
  EXPECT_NO_THROW(op.check());
  op.lse = shape(10, 1);
  expect_refused(op, "lse is (10, 1), expected (10, 2)");
  op.lse = shape(10, 2);
  op.num_kv_heads = 3;
  expect_refused(op, "num_kv_heads must divide num_heads (2), got 3");
  op.num_kv_heads = 2;
  op.window = -1;
  expect_refused(op, "window must be at least 0, got -1");
  op.window = 0;
  op.softcap = -1;
  expect_refused(op, "softcap must be at least 0, got -1");
}

}  // namespace
}  // namespace heed
