#include "test/native/device.h"
#include "test/native/reference_activation.h"

namespace heed {
namespace {

using reference::random_normal;
using reference::relative_error;
using testing::Device;
using testing::equal_bits;
using testing::expect_refused;
using testing::on_every_device;
using testing::shape;

const std::vector<int64_t> kSizes{1, 7, 33, 257, 5000};

// From far below to far above 0, where the gate is exactly 0 or 1.
std::vector<double> inputs(int64_t size) {
  std::vector<double> x = random_normal(size_t(size), unsigned(size), 3);
  const double special[] = {0, -1e-8, 30, -30, -5.5, 1e4, -1e4};
  for (size_t i = 0; i < 7 && 2 * i < x.size(); ++i) x[2 * i] = reference::exact(special[i]);
  return x;
}

template <class F>
std::vector<double> apply(const std::vector<double>& x, F f) {
  std::vector<double> y;
  for (const double value : x) y.push_back(f(value));
  return y;
}

double derivative(double (*f)(double), double x) {
  const double h = 1e-5 * std::max(1.0, std::fabs(x));
  return (f(x + h) - f(x - h)) / (2 * h);
}

struct Form {
  bool exact;
  double (*reference)(double);
};
constexpr Form kForms[] = {{false, reference::gelu}, {true, reference::exact_gelu}};

TEST(Gelu, ForwardIsTheFormula) {
  on_every_device([](Device& device) {
    for (const auto& [exact, gelu] : kForms)
      for (const int64_t n : kSizes) {
        const std::vector<double> x = inputs(n);
        const Tensor out = device.out(1, n);
        device.run(op::Gelu{.out = out, .x = device.tensor(x, 1, n), .exact = exact});
        const std::vector<float> actual = device.floats(out);
        for (size_t i = 0; i < x.size(); ++i)
          EXPECT_NEAR(actual[i], gelu(x[i]), device.bound_of(gelu(x[i]), 1e-6 * std::fabs(gelu(x[i])) + 1e-8))
              << "x = " << x[i];
      }
  });
}

TEST(Gelu, BackwardIsTheDerivative) {
  on_every_device([](Device& device) {
    for (const auto& [exact, gelu] : kForms)
      for (const int64_t n : kSizes) {
        const std::vector<double> x = inputs(n), dout = random_normal(x.size(), 2);
        const Tensor d = device.tensor(dout, n, 1), dx = device.out(n, 1);
        device.run(op::GeluBackward{.dx = dx, .dout = d, .x = device.tensor(x, n, 1), .exact = exact});
        const std::vector<float> actual = device.floats(dx);
        for (size_t i = 0; i < x.size(); ++i) {
          const double expected = dout[i] * derivative(gelu, x[i]);
          EXPECT_NEAR(actual[i], expected, device.bound_of(expected, 2e-6 * (1 + std::fabs(expected))))
              << "x = " << x[i];
        }
        device.run(op::GeluBackward{.dx = d, .dout = d, .x = device.tensor(x, n, 1), .exact = exact});  // in place
        EXPECT_TRUE(equal_bits(device.floats(d), actual));
      }
  });
}

// The two gates, with the reference of their activation.
struct SwiGlu {
  static double activation(double x) { return reference::silu(x); }
  using Forward = op::SwiGlu;
  using Backward = op::SwiGluBackward;
};
struct GeGlu {
  static double activation(double x) { return reference::gelu(x); }
  using Forward = op::GeGlu;
  using Backward = op::GeGluBackward;
};
template <class Kind>
class Gate : public ::testing::Test {};
using Gates = ::testing::Types<SwiGlu, GeGlu>;
TYPED_TEST_SUITE(Gate, Gates);

TYPED_TEST(Gate, ForwardIsTheFormula) {
  on_every_device([](Device& device) {
    for (const int64_t cols : {1, 7, 33, 257}) {
      const int64_t rows = 5;
      const std::vector<double> gate_up = inputs(rows * 2 * cols);
      std::vector<double> expected;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c)
          expected.push_back(TypeParam::activation(gate_up[size_t(r * 2 * cols + c)]) *
                             gate_up[size_t(r * 2 * cols + cols + c)]);
      const Tensor out = device.out(rows, cols);
      device.run(typename TypeParam::Forward{.out = out, .gate_up = device.tensor(gate_up, rows, 2 * cols)});
      const std::vector<float> actual = device.floats(out);
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_NEAR(actual[i], expected[i], device.bound_of(expected[i], 1e-6 * std::fabs(expected[i]) + 1e-8));
    }
  });
}

TYPED_TEST(Gate, BackwardIsTheDerivative) {
  on_every_device([](Device& device) {
    for (const int64_t cols : {1, 7, 33, 257}) {
      const int64_t rows = 5;
      const std::vector<double> gate_up = random_normal(size_t(rows * 2 * cols), 1, 3);
      const std::vector<double> dout = random_normal(size_t(rows * cols), 2);
      std::vector<double> expected(gate_up.size());
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c) {
          const size_t g = size_t(r * 2 * cols + c), u = g + size_t(cols);
          const double d = dout[size_t(r * cols + c)];
          expected[g] = d * gate_up[u] * derivative(TypeParam::activation, gate_up[g]);
          expected[u] = d * TypeParam::activation(gate_up[g]);
        }
      const Tensor d = device.tensor(dout, rows, cols), in = device.tensor(gate_up, rows, 2 * cols);
      const Tensor out = device.out(rows, 2 * cols);
      device.run(typename TypeParam::Backward{.dgate_up = out, .dout = d, .gate_up = in});
      const std::vector<float> actual = device.floats(out);
      EXPECT_LT(relative_error(actual, expected), device.bound(expected, 1e-6));
      device.run(typename TypeParam::Backward{.dgate_up = in, .dout = d, .gate_up = in});  // in place
      EXPECT_TRUE(equal_bits(device.floats(in), actual));
    }
  });
}

TEST(Relu, IsTheLargerOfXAndZero) {
  on_every_device([](Device& device) {
    for (const int64_t n : kSizes) {
      const std::vector<double> x = inputs(n), dout = random_normal(x.size(), 2);
      const Tensor in = device.tensor(x, 1, n), out = device.out(1, n), dx = device.out(1, n),
                   d = device.tensor(dout, 1, n);
      device.run(op::Relu{.out = out, .x = in});
      device.run(op::ReluBackward{.dx = dx, .dout = d, .x = in});
      const std::vector<float> y = device.floats(out), g = device.floats(dx);
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(y[i], float(std::max(x[i], 0.0))) << "x = " << x[i];
        EXPECT_EQ(g[i], x[i] > 0 ? float(dout[i]) : 0.0f) << "x = " << x[i];
      }
      device.run(op::ReluBackward{.dx = d, .dout = d, .x = in});  // in place
      EXPECT_TRUE(equal_bits(device.floats(d), g));
    }
  });
}

TEST(Scale, MultipliesAlsoInPlace) {
  on_every_device([](Device& device) {
    for (const int64_t n : kSizes) {
      const std::vector<double> x = inputs(n);
      const Tensor in = device.tensor(x, n), out = device.out(n);
      device.run(op::Scale{.out = out, .x = in, .factor = 1.375f});
      const std::vector<double> expected = apply(x, [](double value) { return 1.375 * value; });
      EXPECT_LT(relative_error(device.floats(out), expected), device.bound(expected, 1e-7));
      device.run(op::Scale{.out = in, .x = in, .factor = 1.375f});
      EXPECT_TRUE(equal_bits(device.floats(in), device.floats(out)));
    }
  });
}

// Also near 0, where a difference of exponentials would have lost its digits.
TEST(SoftCap, ForwardIsTheFormula) {
  on_every_device([](Device& device) {
    for (const double cap : {0.5, 30.0})
      for (const int64_t n : kSizes) {
        std::vector<double> x = inputs(n);
        for (size_t i = 0; i < x.size(); i += 3) x[i] = reference::exact(x[i] * 1e-3);
        const Tensor in = device.tensor(x, n), out = device.out(n);
        device.run(op::SoftCap{.out = out, .x = in, .cap = float(cap)});
        const std::vector<float> actual = device.floats(out);
        for (size_t i = 0; i < x.size(); ++i) {
          const double expected = cap * std::tanh(x[i] / cap);
          EXPECT_NEAR(actual[i], expected, device.bound_of(expected, 4e-7 * std::fabs(expected))) << "x = " << x[i];
        }
        device.run(op::SoftCap{.out = in, .x = in, .cap = float(cap)});  // in place
        EXPECT_TRUE(equal_bits(device.floats(in), actual));
      }
  });
}

TEST(SoftCap, BackwardIsTheDerivativeFromTheResult) {
  on_every_device([](Device& device) {
    for (const double cap : {0.5, 30.0})
      for (const int64_t n : kSizes) {
        const std::vector<double> x = random_normal(size_t(n), unsigned(n), cap), dout = random_normal(x.size(), 2);
        std::vector<double> y, expected;
        for (size_t i = 0; i < x.size(); ++i) {
          y.push_back(reference::exact(cap * std::tanh(x[i] / cap)));
          const double t = y[i] / cap;
          expected.push_back(dout[i] * (1 - t * t));
        }
        const Tensor out = device.tensor(y, n), d = device.tensor(dout, n), dx = device.out(n);
        device.run(op::SoftCapBackward{.dx = dx, .dout = d, .out = out, .cap = float(cap)});
        EXPECT_LT(relative_error(device.floats(dx), expected), device.bound(expected, 2e-6));
        device.run(op::SoftCapBackward{.dx = d, .dout = d, .out = out, .cap = float(cap)});  // in place
        EXPECT_TRUE(equal_bits(device.floats(d), device.floats(dx)));
      }
  });
}

TEST(Add, AddsAlsoInPlace) {
  on_every_device([](Device& device) {
    for (const int64_t n : kSizes) {
      const std::vector<double> a = random_normal(size_t(n), 1), b = random_normal(size_t(n), 2);
      std::vector<double> expected;
      for (size_t i = 0; i < a.size(); ++i) expected.push_back(a[i] + b[i]);
      const Tensor x = device.tensor(a, n), y = device.tensor(b, n), out = device.out(n);
      device.run(op::Add{.out = out, .a = x, .b = y});
      EXPECT_LT(relative_error(device.floats(out), expected), device.bound(expected, 1e-7));
      device.run(op::Add{.out = y, .a = x, .b = y});
      EXPECT_TRUE(equal_bits(device.floats(y), device.floats(out)));
    }
  });
}

std::vector<float> dropout(Device& device, int64_t rows, int64_t cols, float rate, uint64_t seed, uint32_t site,
                           int64_t first_row) {
  const Tensor out = device.out(rows, cols);
  const Tensor x = device.tensor(std::vector<double>(size_t(rows * cols), 1), rows, cols);
  device.run(op::Dropout{.out = out, .x = x, .rate = rate, .seed = seed, .site = site, .first_row = first_row});
  return device.floats(out);
}

TEST(Dropout, DropsTheRateAndKeepsTheMean) {
  on_every_device([](Device& device) {
    const std::vector<float> mask = dropout(device, 400, 250, 0.3f, 1, 2, 0);
    double kept = 0;
    for (const float m : mask) {
      EXPECT_TRUE(m == 0 || m == float(reference::exact(1 / (1 - 0.3f)))) << m;
      kept += m != 0;
    }
    // A binomial count: within five standard deviations of its mean.
    const double n = double(mask.size());
    EXPECT_NEAR(kept / n, 0.7, 5 * std::sqrt(0.3 * 0.7 / n));
  });
}

// A row's mask depends on its place in the optimizer step's tokens, not in the batch.
TEST(Dropout, MaskDependsOnSeedSiteAndRowOnly) {
  on_every_device([](Device& device) {
    const int64_t cols = 37;
    const std::vector<float> all = dropout(device, 50, cols, 0.5f, 11, 3, 0);
    const std::vector<float> tail = dropout(device, 20, cols, 0.5f, 11, 3, 30);
    EXPECT_TRUE(equal_bits({all.begin() + 30 * cols, all.end()}, tail));
    EXPECT_FALSE(equal_bits(all, dropout(device, 50, cols, 0.5f, 12, 3, 0)));
    EXPECT_FALSE(equal_bits(all, dropout(device, 50, cols, 0.5f, 11, 4, 0)));
    EXPECT_FALSE(equal_bits(all, dropout(device, 50, cols, 0.5f, 11, 3, 1)));
  });
}

TEST(Dropout, SameMaskOnEveryLevelAndAtRateZeroNone) {
  std::vector<bool> first;
  on_every_device([&](Device& device) {
    std::vector<bool> mask;
    for (const float m : dropout(device, 9, 1001, 0.2f, uint64_t(7) << 40, 1, int64_t(5) << 33)) mask.push_back(m != 0);
    if (first.empty()) first = mask;
    EXPECT_EQ(first, mask);
    EXPECT_TRUE(equal_bits(dropout(device, 3, 7, 0, 1, 1, 0), std::vector<float>(21, 1)));
  });
}

TEST(ActivationCheck, BadShapesAreRefused) {
  expect_refused(op::Gelu{.out = shape(4, 8), .x = shape(4, 9)}, "out is (4, 8), expected (4, 9)");
  expect_refused(op::GeluBackward{.dx = shape(4, 8), .dout = shape(3, 8), .x = shape(4, 8)},
                 "dout is (3, 8), expected (4, 8)");
  expect_refused(op::SwiGlu{.out = shape(4, 8), .gate_up = shape(4, 8)}, "gate_up is (4, 8), expected (4, 16)");
  expect_refused(op::SoftCap{.out = shape(4, 8), .x = shape(4, 8), .cap = 0}, "cap must be positive, got 0");
  expect_refused(op::Gelu{.out = shape(4, 8), .x = shape(4, 8, DType::bf16)}, "out is f32, expected bf16");
  expect_refused(op::Gelu{.out = shape(4, 8), .x = shape(4, 8, DType::i32)}, "x is i32, expected f32 or bf16");
  expect_refused(op::Add{.out = shape(4, 8), .a = shape(4, 8), .b = shape(8, 4)}, "b is (8, 4), expected (4, 8)");
  expect_refused(op::Dropout{.out = shape(4, 8), .x = shape(4, 8), .rate = 1}, "rate must be in [0, 1), got 1");
}

}  // namespace
}  // namespace heed
