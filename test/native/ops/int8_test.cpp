#include "test/native/device.h"

namespace heed {
namespace {

using testing::Device;
using testing::device_kinds;
using testing::equal_bits;
using testing::kTypes;
using testing::on_every_device;
using testing::too_slow;

struct Case {
  int64_t m, n, k;
  bool transpose_b = false;
};

// A product, and the weights of which it is: each rounded to the type under test.
struct Problem {
  Case c;
  std::vector<int8_t> b;
  std::vector<double> scale;
  reference::Gemm gemm;  // with the widened weights

  Problem(Case c, unsigned seed, bool adds = false) : c(c) {
    std::mt19937 rng(seed);
    std::uniform_int_distribution<int> byte(-127, 127);
    const int64_t rows = c.transpose_b ? c.n : c.k, cols = c.transpose_b ? c.k : c.n;
    for (int64_t i = 0; i < rows * cols; ++i) b.push_back(int8_t(byte(rng)));
    for (const double s : reference::random_normal(size_t(cols), seed + 1, 0.01)) scale.push_back(float(std::fabs(s)));
    std::vector<double> w;
    for (int64_t i = 0; i < rows * cols; ++i)
      w.push_back(reference::exact(double(float(b[size_t(i)]) * float(scale[size_t(i % cols)]))));
    gemm = {.m = c.m, .n = c.n, .k = c.k, .a = reference::random_normal(size_t(c.m * c.k), seed + 2), .b = w};
    gemm.transpose_b = c.transpose_b;
    if (!adds) return;
    gemm.bias = reference::random_normal(size_t(c.n), seed + 3);
    gemm.residual = reference::random_normal(size_t(c.m * c.n), seed + 4);
  }

  int64_t rows() const { return c.transpose_b ? c.n : c.k; }
  int64_t cols() const { return c.transpose_b ? c.k : c.n; }
};

std::vector<float> run(Device& device, const Problem& p, bool residual_is_out = false) {
  const reference::Gemm& g = p.gemm;
  op::Int8Gemm op{.out = residual_is_out ? device.tensor(g.residual, g.m, g.n) : device.out(g.m, g.n),
                  .a = device.tensor(g.a, g.m, g.k),
                  .b = device.i8(p.b, p.rows(), p.cols()),
                  .scale = device.f32(p.scale, 1, p.cols()),
                  .transpose_b = g.transpose_b};
  if (!g.bias.empty()) op.bias = device.tensor(g.bias, 1, g.n);
  if (residual_is_out)
    op.residual = static_cast<const Tensor&>(op.out);
  else if (!g.residual.empty())
    op.residual = device.tensor(g.residual, g.m, g.n);
  device.run(op);
  return device.floats(op.out);
}

std::vector<float> run_widened(Device& device, const Problem& p) {
  const reference::Gemm& g = p.gemm;
  op::Gemm op{.out = device.out(g.m, g.n),
              .a = device.tensor(g.a, g.m, g.k),
              .b = device.tensor(g.b, p.rows(), p.cols()),
              .transpose_b = g.transpose_b,
              .weight = true};
  if (!g.bias.empty()) op.bias = device.tensor(g.bias, 1, g.n);
  if (!g.residual.empty()) op.residual = device.tensor(g.residual, g.m, g.n);
  device.run(op);
  return device.floats(op.out);
}

// No size is a multiple of a vector, a tile or a block of k, then all are of a GPU's accesses; the last has several
// blocks of rows, columns and k.
const Case kCases[] = {{1, 2, 1},     {1, 33, 300},  {7, 31, 17},   {15, 65, 513}, {29, 130, 255}, {33, 16, 64},
                       {3, 1040, 70}, {1, 112, 264}, {16, 48, 136}, {18, 48, 168}, {64, 16, 136},  {230, 90, 530}};

TEST(Int8Gemm, HasTheBitsOfTheProductWithWidenedWeights) {
  on_every_device([](Device& device) {
    for (Case c : kCases)
      for (const bool transpose_b : {false, true})
        for (const bool adds : {false, true}) {
          if (too_slow(c.m * c.n * c.k)) continue;
          c.transpose_b = transpose_b;
          const Problem p(c, unsigned(c.n + c.k), adds);
          EXPECT_TRUE(equal_bits(run(device, p), run_widened(device, p)))
              << "m " << c.m << " n " << c.n << " k " << c.k << (transpose_b ? " transposed" : "");
          if (adds) {
            EXPECT_TRUE(equal_bits(run(device, p), run(device, p, true)));
          }
        }
  });
}

TEST(Int8Gemm, MatchesTheReference) {
  on_every_device([](Device& device) {
    for (Case c : kCases)
      for (const bool transpose_b : {false, true}) {
        if (too_slow(c.m * c.n * c.k)) continue;
        c.transpose_b = transpose_b;
        const Problem p(c, 5, true);
        const std::vector<double> expected = p.gemm.out();
        EXPECT_LT(reference::relative_error(run(device, p), expected),
                  device.bound(expected, 1e-7 * (4 + std::sqrt(double(c.k)))));
      }
  });
}

// The sampler and the trainer rely on this: a row of out is bit-identical in any batch.
TEST(Int8Gemm, ARowDoesNotDependOnTheBatchOrTheThreads) {
  constexpr bool kFew = testing::kSlowness > 1;
  constexpr int64_t kMost = 40, n = 101, k = kFew ? 70 : 1100;
  for (const testing::DeviceKind& kind : device_kinds())
    for (const DType dtype : kTypes) {
      SCOPED_TRACE(kind.name + ", " + testing::name_of(dtype));
      const testing::UnderTest under_test(dtype);
      const std::unique_ptr<Backend> backends[] = {kind.make(1), kind.make(2), kind.make(3)};
      const Problem all({kMost, n, k}, 6);
      Device first_device(*backends[0], dtype);
      const std::vector<float> expected = run(first_device, all);
      for (int64_t m = 1; m <= kMost; m += kFew ? 13 : 3) {
        Problem part = all;
        const int64_t first = kMost - m;
        part.gemm.m = m;
        part.gemm.a.assign(all.gemm.a.begin() + first * k, all.gemm.a.end());
        Device device(*backends[size_t(m) % 3], dtype);
        EXPECT_TRUE(equal_bits(run(device, part), {expected.begin() + first * n, expected.end()})) << m << " rows";
      }
    }
}

TEST(Int8Gemm, RefusesOtherShapesAndTypes) {
  const auto shape = [](int64_t rows, int64_t cols, DType dtype = DType::f32) {
    return Tensor{nullptr, dtype, rows, cols};
  };
  op::Int8Gemm op{.out = shape(4, 8), .a = shape(4, 3), .b = shape(3, 8, DType::i8), .scale = shape(1, 8)};
  op.check();
  op.transpose_b = true;
  testing::expect_refused(op, "b is (3, 8), expected (8, 3)");
  op.b = shape(8, 3, DType::i8);
  testing::expect_refused(op, "scale is (1, 8), expected (1, 3)");
  op.scale = shape(1, 3);
  op.check();
  op.b = shape(8, 3);
  testing::expect_refused(op, "b is f32, expected i8");
}

}  // namespace
}  // namespace heed
