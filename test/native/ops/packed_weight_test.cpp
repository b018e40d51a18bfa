// Weights that the CPU keeps packed for its matrix product.
#include "test/native/device.h"

namespace heed {
namespace {

Tensor view(std::vector<float>& values, int64_t rows, int64_t cols) {
  return {values.data(), DType::f32, rows, cols};
}

// Packed weights are updated after every way to change a weight.
class PackedWeight : public ::testing::Test {
 protected:
  static constexpr int64_t m = 3, n = 40, k = 20;
  cpu::CpuBackend backend{2};
  Buffer memory{backend, 3 * k* n* int64_t(sizeof(float))};
  Tensor b{memory.data(), DType::f32, k, n};
  reference::Gemm g{.m = m,
                    .n = n,
                    .k = k,
                    .a = reference::random_normal(size_t(m * k), 10),
                    .b = reference::random_normal(size_t(k * n), 11)};

  std::vector<float> multiply(bool weight) {
    std::vector<float> a = reference::to_float(g.a), out(m * n, NAN);
    backend.run(op::Gemm{.out = view(out, m, n), .a = view(a, m, k), .b = b, .weight = weight});
    return out;
  }
  void expect_current() { EXPECT_EQ(multiply(true), multiply(false)); }
  void SetUp() override {
    backend.upload(b, reference::to_float(g.b).data());
    expect_current();
    EXPECT_GT(backend.held().packed_bytes, 0);
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

// Any op that writes to a weight, according to its Out and InOut fields.
TEST_F(PackedWeight, FollowsEveryOp) {
  const std::vector<float> before = multiply(true);
  backend.run(op::Add{.out = b, .a = b, .b = b});
  expect_current();
  EXPECT_NE(multiply(true), before);
}

TEST_F(PackedWeight, EndsWithItsMemory) {
  memory = Buffer();
  EXPECT_EQ(backend.held().packed_bytes, 0);
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

}  // namespace
}  // namespace heed
