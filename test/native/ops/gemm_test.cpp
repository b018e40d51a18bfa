#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "native/core/error.h"
#include "native/cpu/backend.h"
#include "test/native/reference.h"

namespace {

using namespace heed;

// The levels this machine has.
std::vector<std::string> levels() {
  std::vector<std::string> list;
  for (const char* level : {"avx512", "avx2", "portable"}) try {
      list.push_back(cpu::CpuBackend(1, level).name() + std::strlen("cpu "));
    } catch (const Error&) {
    }
  return list;
}

std::vector<std::unique_ptr<cpu::CpuBackend>> backends() {
  std::vector<std::unique_ptr<cpu::CpuBackend>> list;
  for (const std::string& level : levels())
    for (const int threads : {1, 2}) list.push_back(std::make_unique<cpu::CpuBackend>(threads, level));
  return list;
}

// Each matrix lies in a vector of just its size, so that a sanitizer sees any step outside.
Tensor view(std::vector<float>& values, int64_t rows, int64_t cols) {
  return {values.data(), DType::f32, rows, cols};
}

struct Options {
  bool accumulate = false, weight = false, residual_is_out = false;
};

// out starts as NaN unless it is read, so an element nobody writes fails the test.
std::vector<float> run(Backend& backend, const reference::Gemm& g, const Options& options = {}) {
  std::vector<float> a = reference::to_float(g.a), b = reference::to_float(g.b), bias = reference::to_float(g.bias),
                     residual = reference::to_float(g.residual), out(size_t(g.m * g.n), NAN);
  if (options.accumulate || options.residual_is_out) out = residual;
  op::Gemm op{.out = view(out, g.m, g.n),
              .a = g.transpose_a ? view(a, g.k, g.m) : view(a, g.m, g.k),
              .b = g.transpose_b ? view(b, g.n, g.k) : view(b, g.k, g.n),
              .transpose_a = g.transpose_a,
              .transpose_b = g.transpose_b,
              .accumulate = options.accumulate,
              .weight = false};
  if (!bias.empty()) op.bias = view(bias, 1, g.n);
  if (!residual.empty() && !options.accumulate)
    op.residual = options.residual_is_out ? op.out : view(residual, g.m, g.n);
  if (!options.weight) {
    backend.run(op);
    return out;
  }
  // Weights are in the backend's memory: it must hear when they end.
  const Buffer memory(backend, int64_t(b.size() * sizeof(float)));
  op.b.data = memory.data();
  backend.upload(op.b, b.data());
  op.weight = true;
  backend.run(op);
  return out;
}

reference::Gemm random_gemm(int64_t m, int64_t n, int64_t k, unsigned seed) {
  return {.m = m,
          .n = n,
          .k = k,
          .a = reference::random_normal(size_t(m * k), seed),
          .b = reference::random_normal(size_t(k * n), seed + 1)};
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// f32 sums of k products, each rounded: far below this for any order, far above it for one wrong element.
double tolerance(int64_t k) {
  return 1e-7 * (4 + std::sqrt(double(k)));
}

const int64_t kSizes[][3] = {{1, 1, 1},     {7, 33, 1},     {1, 257, 7},    {33, 7, 257},
                             {257, 1, 33},  {14, 32, 256},  {15, 31, 255},  {29, 65, 513},
                             {6, 16, 1024}, {100, 130, 77}, {3, 1040, 300}, {450, 70, 260}};

TEST(Gemm, MatchesTheReferenceInEveryOrientation) {
  for (const auto& backend : backends())
    for (const auto& size : kSizes)
      for (int form = 0; form < 8; ++form) {
        reference::Gemm g = random_gemm(size[0], size[1], size[2], unsigned(form));
        g.transpose_a = form & 1;
        g.transpose_b = form & 2;
        const double error = reference::relative_error(run(*backend, g, {.weight = (form & 4) != 0}), g.out());
        EXPECT_LT(error, tolerance(g.k)) << backend->name() << " m " << g.m << " n " << g.n << " k " << g.k << " form "
                                         << form;
      }
}

TEST(Gemm, AddsBiasAndResidual) {
  for (const auto& backend : backends())
    for (const auto& size : kSizes) {
      reference::Gemm g = random_gemm(size[0], size[1], size[2], 1);
      g.bias = reference::random_normal(size_t(g.n), 3);
      EXPECT_LT(reference::relative_error(run(*backend, g), g.out()), tolerance(g.k)) << backend->name();
      g.residual = reference::random_normal(size_t(g.m * g.n), 4);
      const std::vector<float> apart = run(*backend, g), in_place = run(*backend, g, {.residual_is_out = true});
      EXPECT_LT(reference::relative_error(apart, g.out()), tolerance(g.k)) << backend->name();
      EXPECT_TRUE(same_bits(apart, in_place)) << backend->name();
      g.bias.clear();
      EXPECT_LT(reference::relative_error(run(*backend, g), g.out()), tolerance(g.k)) << backend->name();
      EXPECT_LT(reference::relative_error(run(*backend, g, {.accumulate = true}), g.out()), tolerance(g.k))
          << backend->name();
    }
}

TEST(Gemm, NothingToSumLeavesWhatIsAdded) {
  for (const auto& backend : backends())
    for (const bool weight : {false, true}) {
      reference::Gemm g = random_gemm(5, 37, 0, 1);
      EXPECT_EQ(run(*backend, g, {.weight = weight}), std::vector<float>(5 * 37, 0.0f));
      g.residual = reference::random_normal(5 * 37, 2);
      EXPECT_EQ(run(*backend, g, {.weight = weight}), reference::to_float(g.residual));
      EXPECT_EQ(run(*backend, g, {.accumulate = true, .weight = weight}), reference::to_float(g.residual));
      g = random_gemm(0, 37, 9, 1);
      EXPECT_TRUE(run(*backend, g, {.weight = weight}).empty());
    }
}

// The promise the sampler and the trainer rest on: a row of out has the same bits in any batch.
TEST(Gemm, ARowDoesNotDependOnTheBatchTheThreadsOrPacking) {
  constexpr int64_t kMost = 40, n = 101, k = 600;
  for (const std::string& level : levels()) {
    cpu::CpuBackend one(1, level), two(2, level), three(3, level);
    for (const bool transpose_b : {false, true}) {
      reference::Gemm all = random_gemm(kMost, n, k, 5);
      all.transpose_b = transpose_b;
      all.bias = reference::random_normal(n, 6);
      const std::vector<float> expected = run(one, all);
      for (int64_t m = 1; m <= kMost; ++m)
        for (const int64_t first : {int64_t{0}, (kMost - m) / 2, kMost - m}) {
          reference::Gemm part = all;
          part.m = m;
          part.a.assign(all.a.begin() + first * k, all.a.begin() + (first + m) * k);
          const std::vector<float> rows(expected.begin() + first * n, expected.begin() + (first + m) * n);
          for (Backend* backend : {&one, &two, &three})
            for (const bool weight : {false, true})
              EXPECT_TRUE(same_bits(run(*backend, part, {.weight = weight}), rows))
                  << level << " rows " << first << " + " << m << (weight ? " packed" : "");
        }
    }
  }
}

TEST(Gemm, GradientsDoNotDependOnTheThreads) {
  for (const std::string& level : levels()) {
    cpu::CpuBackend one(1, level);
    reference::Gemm g = random_gemm(200, 300, 1000, 7);
    g.transpose_a = true;
    g.residual = reference::random_normal(200 * 300, 8);
    const std::vector<float> expected = run(one, g, {.accumulate = true});
    EXPECT_LT(reference::relative_error(expected, g.out()), tolerance(g.k));
    for (const int threads : {2, 3, 7}) {
      cpu::CpuBackend many(threads, level);
      EXPECT_TRUE(same_bits(run(many, g, {.accumulate = true}), expected)) << level << " threads " << threads;
    }
  }
}

TEST(Gemm, ColumnsOfPaddingTouchNothing) {
  for (const auto& backend : backends()) {
    const reference::Gemm g = random_gemm(9, 21, 40, 9);
    std::vector<float> a = reference::to_float(g.a), b = reference::to_float(g.b), out(9 * 21 + 64, 7.0f);
    backend->run(op::Gemm{.out = view(out, 9, 21), .a = view(a, 9, 40), .b = view(b, 40, 21)});
    EXPECT_TRUE(std::all_of(out.begin() + 9 * 21, out.end(), [](float x) { return x == 7.0f; })) << backend->name();
  }
}

// Packed weights follow every way a weight can change.
class PackedWeight : public testing::Test {
 protected:
  static constexpr int64_t m = 3, n = 40, k = 20;
  cpu::CpuBackend backend{2};
  Buffer memory{backend, 3 * k* n* int64_t(sizeof(float))};
  Tensor b{memory.data(), DType::f32, k, n};
  reference::Gemm g = random_gemm(m, n, k, 10);

  std::vector<float> multiply(bool weight) {
    std::vector<float> a = reference::to_float(g.a), out(m * n, NAN);
    backend.run(op::Gemm{.out = view(out, m, n), .a = view(a, m, k), .b = b, .weight = weight});
    return out;
  }
  void expect_current() { EXPECT_EQ(multiply(true), multiply(false)); }
  void SetUp() override {
    backend.upload(b, reference::to_float(g.b).data());
    expect_current();
    EXPECT_GT(backend.packed_bytes(), 0);
  }
};

TEST_F(PackedWeight, FollowsUploads) {
  backend.upload(b.slice(k - 1, 1), reference::to_float(reference::random_normal(n, 11)).data());
  expect_current();
}

TEST_F(PackedWeight, FollowsCopiesAndZeroing) {
  const Tensor other{static_cast<float*>(memory.data()) + k * n, DType::f32, k, n};
  backend.upload(other, reference::to_float(reference::random_normal(k * n, 12)).data());
  backend.copy(b, other);
  expect_current();
  EXPECT_NE(multiply(true), std::vector<float>(m * n, 0.0f));
  backend.zero({memory.data(), DType::f32, 3 * k, n});
  expect_current();
  EXPECT_EQ(multiply(true), std::vector<float>(m * n, 0.0f));
}

TEST_F(PackedWeight, FollowsTheOptimizer) {
  std::vector<float> grad = reference::to_float(reference::random_normal(k * n, 13)), m1(k * n), v(k * n);
  const std::vector<float> before = multiply(true);
  backend.run(op::AdamW{.weight = b,
                        .m = view(m1, k, n),
                        .v = view(v, k, n),
                        .grad = view(grad, k, n),
                        .learning_rate = 0.1f,
                        .beta1 = 0.9f,
                        .beta2 = 0.95f,
                        .eps = 1e-8f,
                        .weight_decay = 0,
                        .correction1 = 0.1f,
                        .correction2 = 0.05f,
                        .grad_scale = 1});
  expect_current();
  EXPECT_NE(multiply(true), before);
  const std::vector<float> stepped = multiply(true);
  backend.run(op::Lerp{.out = b, .x = view(grad, k, n), .weight = 0.5f});
  expect_current();
  EXPECT_NE(multiply(true), stepped);
}

TEST_F(PackedWeight, EndsWithItsMemory) {
  memory = Buffer();
  EXPECT_EQ(backend.packed_bytes(), 0);
}

TEST_F(PackedWeight, IsKeptPerOrientationAndShape) {
  std::vector<float> a = reference::to_float(g.a), expected(m * k, NAN), out(m * k, NAN);
  std::vector<float> x = reference::to_float(reference::random_normal(m * n, 14));
  backend.run(op::Gemm{.out = view(expected, m, k), .a = view(x, m, n), .b = b, .transpose_b = true});
  backend.run(op::Gemm{.out = view(out, m, k), .a = view(x, m, n), .b = b, .transpose_b = true, .weight = true});
  EXPECT_EQ(out, expected);
  Tensor reshaped = b;
  reshaped.rows = n;
  reshaped.cols = k;
  backend.run(op::Gemm{.out = view(expected, m, k), .a = view(x, m, n), .b = reshaped});
  backend.run(op::Gemm{.out = view(out, m, k), .a = view(x, m, n), .b = reshaped, .weight = true});
  EXPECT_EQ(out, expected);
  expect_current();
}

TEST(Gemm, RefusesWhatDoesNotFit) {
  cpu::CpuBackend backend(1);
  std::vector<float> x(64);
  const Tensor small = view(x, 4, 4), wide = view(x, 4, 8);
  const auto sentence = [&](const op::Gemm& op) -> std::string {
    try {
      backend.run(op);
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::InvalidArgument);
      return error.what();
    }
    return "";
  };
  std::vector<float> y(64), z(64);
  EXPECT_EQ(sentence({.out = view(y, 4, 4), .a = small, .b = view(z, 4, 8)}), "b is (4, 8), expected (4, 4)");
  EXPECT_EQ(sentence({.out = view(y, 4, 8), .a = view(z, 3, 4), .b = wide}), "a is (3, 4), expected (4, 4)");
  EXPECT_EQ(sentence({.out = view(y, 4, 4), .a = small, .b = small, .bias = view(z, 4, 1)}),
            "bias is (4, 1), expected (1, 4)");
  EXPECT_EQ(sentence({.out = small, .a = view(z, 4, 4), .b = small}), "out must not be b");
  EXPECT_EQ(sentence({.out = view(y, 4, 4), .a = small, .b = small, .bias = view(z, 1, 4), .accumulate = true}),
            "accumulate excludes bias and residual");
  Tensor ints = small;
  ints.dtype = DType::i32;
  EXPECT_EQ(sentence({.out = view(y, 4, 4), .a = ints, .b = small}), "a is i32, expected f32");
}

TEST(BiasBackward, AddsTheSumOfTheRows) {
  for (const auto& backend : backends())
    for (const auto& size : {std::pair{1, 1}, {3, 257}, {129, 33}, {1000, 7}, {515, 384}}) {
      const int64_t m = size.first, n = size.second;
      const std::vector<double> dout = reference::random_normal(size_t(m * n), 15);
      std::vector<double> expected = reference::random_normal(size_t(n), 16);
      std::vector<float> dbias = reference::to_float(expected), x = reference::to_float(dout);
      for (int64_t i = 0; i < m * n; ++i) expected[size_t(i % n)] += dout[size_t(i)];
      backend->run(op::BiasBackward{.dbias = view(dbias, 1, n), .dout = view(x, m, n)});
      EXPECT_LT(reference::relative_error(dbias, expected), 1e-6) << backend->name() << " m " << m << " n " << n;
    }
}

TEST(BiasBackward, DoesNotDependOnTheThreads) {
  for (const std::string& level : levels()) {
    std::vector<float> dout = reference::to_float(reference::random_normal(2000 * 100, 17)), expected(100);
    cpu::CpuBackend(1, level).run(op::BiasBackward{.dbias = view(expected, 1, 100), .dout = view(dout, 2000, 100)});
    for (const int threads : {2, 5}) {
      std::vector<float> dbias(100);
      cpu::CpuBackend(threads, level)
          .run(op::BiasBackward{.dbias = view(dbias, 1, 100), .dout = view(dout, 2000, 100)});
      EXPECT_TRUE(same_bits(dbias, expected)) << level << " threads " << threads;
    }
  }
}

}  // namespace
