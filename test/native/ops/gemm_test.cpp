#include "test/native/device.h"

namespace heed {
namespace {

using testing::Device;
using testing::device_kinds;
using testing::equal_bits;
using testing::kTypes;
using testing::on_every_device;
using testing::too_slow;

struct Options {
  bool accumulate = false, weight = false, residual_is_out = false;
  bool f32_out = false;  // of bf16 matrices
};

// out is initialised with NaN unless it is read, so that an element that is not written fails the test.
std::vector<float> run(Device& device, const reference::Gemm& g, const Options& options = {}) {
  const auto result = [&](const std::vector<double>& values, int64_t rows) {
    return options.f32_out ? device.f32(values, rows, g.n) : device.tensor(values, rows, g.n);
  };
  op::Gemm op{.out = options.accumulate || options.residual_is_out
                         ? result(g.residual, g.m)
                         : device.nan(g.m, g.n, options.f32_out ? DType::f32 : device.dtype()),
              .a = g.transpose_a ? device.tensor(g.a, g.k, g.m) : device.tensor(g.a, g.m, g.k),
              .b = g.transpose_b ? device.tensor(g.b, g.n, g.k) : device.tensor(g.b, g.k, g.n),
              .transpose_a = g.transpose_a,
              .transpose_b = g.transpose_b,
              .accumulate = options.accumulate,
              .weight = options.weight};
  if (!g.bias.empty()) op.bias = result(g.bias, 1);
  if (!g.residual.empty() && !options.accumulate) {
    if (options.residual_is_out)
      op.residual = static_cast<const Tensor&>(op.out);
    else
      op.residual = result(g.residual, g.m);
  }
  device.run(op);
  return device.floats(op.out);
}

reference::Gemm random_gemm(int64_t m, int64_t n, int64_t k, unsigned seed) {
  return {.m = m,
          .n = n,
          .k = k,
          .a = reference::random_normal(size_t(m * k), seed),
          .b = reference::random_normal(size_t(k * n), seed + 1)};
}

// Bound for f32 sums of k rounded products: rounding errors are far below it, one wrong element is far above it.
double tolerance(int64_t k) {
  return 1e-7 * (4 + std::sqrt(double(k)));
}

// A product of the device's type, and in bf16 also one with f32 output.
void expect_close(Device& device, const reference::Gemm& g, Options options) {
  const std::vector<double> expected = g.out();
  EXPECT_LT(reference::relative_error(run(device, g, options), expected), device.bound(expected, tolerance(g.k)))
      << "m " << g.m << " n " << g.n << " k " << g.k;
  options.f32_out = true;
  EXPECT_LT(reference::relative_error(run(device, g, options), expected), tolerance(g.k))
      << "f32 out, m " << g.m << " n " << g.n << " k " << g.k;
}

const int64_t kSizes[][3] = {{1, 1, 1},     {7, 33, 1},     {1, 257, 7},    {33, 7, 257},
                             {257, 1, 33},  {14, 32, 256},  {15, 31, 255},  {29, 65, 513},
                             {6, 16, 1024}, {100, 130, 77}, {3, 1040, 300}, {450, 70, 260}};

TEST(Gemm, MatchesTheReferenceInEveryOrientation) {
  on_every_device([](Device& device) {
    for (const auto& size : kSizes)
      for (int form = 0; form < 8 && !too_slow(size[0] * size[1] * size[2]); ++form) {
        SCOPED_TRACE("form " + std::to_string(form));
        reference::Gemm g = random_gemm(size[0], size[1], size[2], unsigned(form));
        g.transpose_a = form & 1;
        g.transpose_b = form & 2;
        expect_close(device, g, {.weight = (form & 4) != 0});
      }
  });
}

TEST(Gemm, AddsBiasAndResidual) {
  on_every_device([](Device& device) {
    for (const auto& size : kSizes) {
      if (too_slow(size[0] * size[1] * size[2])) continue;
      reference::Gemm g = random_gemm(size[0], size[1], size[2], 1);
      g.bias = reference::random_normal(size_t(g.n), 3);
      expect_close(device, g, {});
      g.residual = reference::random_normal(size_t(g.m * g.n), 4);
      expect_close(device, g, {});
      EXPECT_TRUE(equal_bits(run(device, g), run(device, g, {.residual_is_out = true})));
      g.bias.clear();
      expect_close(device, g, {});
      expect_close(device, g, {.accumulate = true});
    }
  });
}

TEST(Gemm, NothingToSumLeavesWhatIsAdded) {
  on_every_device([](Device& device) {
    for (const bool weight : {false, true}) {
      reference::Gemm g = random_gemm(5, 37, 0, 1);
      EXPECT_EQ(run(device, g, {.weight = weight}), std::vector<float>(5 * 37, 0.0f));
      g.residual = reference::random_normal(5 * 37, 2);
      EXPECT_EQ(run(device, g, {.weight = weight}), reference::to_float(g.residual));
      EXPECT_EQ(run(device, g, {.accumulate = true, .weight = weight}), reference::to_float(g.residual));
      g = random_gemm(0, 37, 9, 1);
      EXPECT_TRUE(run(device, g, {.weight = weight}).empty());
    }
  });
}

// The sampler and the trainer rely on this: a row of out is bit-identical in any batch.
TEST(Gemm, ARowDoesNotDependOnTheBatchTheThreadsOrPacking) {
  constexpr bool kFew = testing::kSlowness > 1;
  constexpr int64_t kMost = 40, k = kFew ? 70 : 1100;
  for (const testing::DeviceKind& kind : device_kinds())
    for (const auto& [dtype, n] :
         {std::pair<DType, int64_t>{kTypes[0], 101}, {kTypes[1], 101}, {kTypes[0], 1}, {kTypes[1], 1}}) {
      SCOPED_TRACE(kind.name + ", " + testing::name_of(dtype) + ", n " + std::to_string(n));
      const testing::UnderTest under_test(dtype);
      const std::unique_ptr<Backend> backends[] = {kind.make(1), kind.make(2), kind.make(3)};
      for (const bool transpose_b : {false, true}) {
        reference::Gemm all = random_gemm(kMost, n, k, 5);
        all.transpose_b = transpose_b;
        all.bias = reference::random_normal(size_t(n), 6);
        Device first_device(*backends[0], dtype);
        const std::vector<float> expected = run(first_device, all);
        for (int64_t m = 1; m <= kMost; m += kFew ? 13 : 1)
          for (const int64_t first : {int64_t{0}, (kMost - m) / 2, kMost - m}) {
            reference::Gemm part = all;
            part.m = m;
            part.a.assign(all.a.begin() + first * k, all.a.begin() + (first + m) * k);
            const std::vector<float> rows(expected.begin() + first * n, expected.begin() + (first + m) * n);
            const auto& backend = backends[size_t(m + first) % 3];
            Device device(*backend, dtype);
            for (const bool weight : {false, true})
              EXPECT_TRUE(equal_bits(run(device, part, {.weight = weight}), rows))
                  << backend->threads() << " threads, rows " << first << " + " << m << (weight ? " packed" : "");
          }
      }
    }
}

TEST(Gemm, GradientsDoNotDependOnTheThreads) {
  for (const testing::DeviceKind& kind : device_kinds())
    for (const DType dtype : kTypes) {
      SCOPED_TRACE(kind.name + ", " + testing::name_of(dtype));
      const testing::UnderTest under_test(dtype);
      constexpr int64_t m = testing::kSlowness > 1 ? 50 : 200, n = m * 3 / 2, k = 5 * m;
      reference::Gemm g = random_gemm(m, n, k, 7);
      g.transpose_a = true;
      g.residual = reference::random_normal(size_t(m * n), 8);
      std::vector<float> expected;
      for (const int threads : {1, 2, 3, 7}) {
        const std::unique_ptr<Backend> backend = kind.make(threads);
        Device device(*backend, dtype);
        const std::vector<float> out = run(device, g, {.accumulate = true, .f32_out = true});
        if (threads == 1) expected = out;
        EXPECT_LT(reference::relative_error(out, g.out()), tolerance(g.k));
        EXPECT_TRUE(equal_bits(out, expected)) << threads << " threads";
      }
    }
}

TEST(Gemm, ColumnsOfPaddingTouchNothing) {
  on_every_device([](Device& device) {
    const reference::Gemm g = random_gemm(9, 21, 40, 9);
    const Tensor memory = device.tensor(std::vector<double>(9 * 21 + 64, 7), 9 * 21 + 64);
    Tensor out = memory;
    out.rows = 9;
    out.cols = 21;
    device.run(op::Gemm{.out = out, .a = device.tensor(g.a, 9, 40), .b = device.tensor(g.b, 40, 21)});
    for (const float x : device.floats(memory.slice(9 * 21, 64))) EXPECT_EQ(x, 7.0f);
  });
}

TEST(Gemm, RefusesWhatDoesNotFit) {
  using testing::expect_refused;
  using testing::shape;
  const Tensor small = shape(4, 4);
  expect_refused(op::Gemm{.out = small, .a = small, .b = shape(4, 8)}, "b is (4, 8), expected (4, 4)");
  expect_refused(op::Gemm{.out = shape(4, 8), .a = shape(3, 4), .b = shape(4, 8)}, "a is (3, 4), expected (4, 4)");
  expect_refused(op::Gemm{.out = small, .a = small, .b = small, .bias = shape(4, 1)},
                 "bias is (4, 1), expected (1, 4)");
  expect_refused(op::Gemm{.out = small, .a = small, .b = small, .bias = shape(1, 4), .accumulate = true},
                 "accumulate excludes bias and residual");
  float data[16];
  const Tensor here{data, DType::f32, 4, 4};
  expect_refused(op::Gemm{.out = here, .a = small, .b = here}, "out must not be b");
  const Tensor half = shape(4, 4, DType::bf16);
  expect_refused(op::Gemm{.out = small, .a = shape(4, 4, DType::i32), .b = small}, "a is i32, expected f32 or bf16");
  expect_refused(op::Gemm{.out = small, .a = half, .b = small}, "b is f32, expected bf16");
  expect_refused(op::Gemm{.out = half, .a = small, .b = small}, "out is bf16, expected f32, as a and b are");
  expect_refused(op::Gemm{.out = small, .a = half, .b = half, .residual = half}, "residual is bf16, expected f32");
}

TEST(BiasBackward, AddsTheSumOfTheRows) {
  on_every_device([](Device& device) {
    for (const auto& size : {std::pair{1, 1}, {3, 257}, {129, 33}, {1000, 7}, {515, 384}}) {
      const int64_t m = size.first, n = size.second;
      const std::vector<double> dout = reference::random_normal(size_t(m * n), 15);
      std::vector<double> expected = reference::random_normal(size_t(n), 16);
      const Tensor dbias = device.f32(expected, 1, n);
      for (int64_t i = 0; i < m * n; ++i) expected[size_t(i % n)] += dout[size_t(i)];
      device.run(op::BiasBackward{.dbias = dbias, .dout = device.tensor(dout, m, n)});
      EXPECT_LT(reference::relative_error(device.floats(dbias), expected), 1e-6) << "m " << m << " n " << n;
    }
  });
}

TEST(BiasBackward, DoesNotDependOnTheThreads) {
  testing::expect_same_bits_with_any_threads([](Device& device) {
    const Tensor dbias = device.f32(std::vector<double>(100), 1, 100);
    device.run(
        op::BiasBackward{.dbias = dbias, .dout = device.tensor(reference::random_normal(2000 * 100, 17), 2000, 100)});
    return device.floats(dbias);
  });
}

}  // namespace
}  // namespace heed
