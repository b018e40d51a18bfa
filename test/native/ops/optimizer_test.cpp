#include "test/native/device.h"
#include "test/native/reference_optimizer.h"

namespace heed {
namespace {

using reference::random_normal;
using reference::relative_error;
using testing::Device;
using testing::equal_bits;
using testing::on_every_device;
using testing::shape;

const std::vector<int64_t> kSizes{1, 7, 33, 257, 40000};

struct State {
  Tensor weight, m, v, param;
};
State start(Device& device, int64_t size) {
  const std::vector<double> zero(size_t(size), 0.0);
  return {device.f32(random_normal(size_t(size), 1), size), device.f32(zero, size), device.f32(zero, size),
          device.dtype() == DType::bf16 ? device.tensor(random_normal(size_t(size), 1), size) : Tensor{}};
}

void step(Device& device, const State& s, const reference::AdamW& r, const std::vector<double>& grad) {
  device.run(op::AdamW{.weight = s.weight,
                       .m = s.m,
                       .v = s.v,
                       .param = s.param,
                       .grad = device.f32(grad, s.weight.rows),
                       .learning_rate = float(r.learning_rate),
                       .beta1 = float(r.beta1),
                       .beta2 = float(r.beta2),
                       .eps = float(r.eps),
                       .weight_decay = float(r.weight_decay),
                       .correction1 = float(1 - std::pow(r.beta1, r.step + 1)),
                       .correction2 = float(1 - std::pow(r.beta2, r.step + 1)),
                       .grad_scale = float(r.grad_scale)});
}

reference::AdamW paper() {  // the settings of Ouyang et al. 2022, app. C, with a visible decay
  return {float(1e-3), float(0.9), float(0.95), float(1e-8), float(0.1), float(0.5), {}, {}, {}};
}

TEST(AdamW, TakesTheStepsOfTheFormula) {
  on_every_device([](Device& device) {
    for (const int64_t size : kSizes) {
      reference::AdamW expected = paper();
      expected.weight = random_normal(size_t(size), 1);
      expected.m = expected.v = std::vector<double>(size_t(size), 0.0);
      const State s = start(device, size);
      for (unsigned i = 0; i < 20; ++i) {
        const std::vector<double> grad = random_normal(size_t(size), 10 + i, 0.1);
        step(device, s, expected, grad);
        expected.update(grad);
      }
      EXPECT_LT(relative_error(device.floats(s.weight), expected.weight), 1e-6) << size;
      if (s.param.rows != 0) {  // the weight, rounded
        std::vector<float> rounded = device.floats(s.weight);
        for (float& x : rounded) x = to_float(to_bf16(x));
        EXPECT_TRUE(equal_bits(device.floats(s.param), rounded));
      }
      EXPECT_LT(relative_error(device.floats(s.m), expected.m), 1e-6) << size;
      EXPECT_LT(relative_error(device.floats(s.v), expected.v), 1e-6) << size;
    }
  });
}

// The first step moves every weight by the learning rate, whatever the size of its gradient.
TEST(AdamW, FirstStepIsTheLearningRate) {
  on_every_device([](Device& device) {
    reference::AdamW r = paper();
    r.weight_decay = 0;
    r.grad_scale = 1;
    const Tensor zero = device.f32({0, 0, 0}, 3), m = device.f32({0, 0, 0}, 3), v = device.f32({0, 0, 0}, 3);
    step(device, {zero, m, v, {}}, r, {100, -1e-3, 0});
    const std::vector<float> moved = device.floats(zero);
    EXPECT_NEAR(moved[0], -1e-3, 1e-8);
    EXPECT_NEAR(moved[1], 1e-3, 2e-8);
    EXPECT_EQ(moved[2], 0);
  });
}

// If a parameter was written after the last step, or before the first one, the weight starts from it. Others keep their
// float32 weight.
TEST(AdamW, WeightFollowsAParameterThatWasWritten) {
  on_every_device([](Device& device) {
    if (device.dtype() != DType::bf16) return;
    const Tensor m = device.f32({0, 0, 0}, 3), v = device.f32({0, 0, 0}, 3);
    const Tensor weight = device.f32({0, 1.001, 1.001}, 3), param = device.tensor({0.5, 1, 2}, 3);
    reference::AdamW r = paper();
    r.learning_rate = 0;
    step(device, {weight, m, v, param}, r, {1, 1, 1});
    EXPECT_EQ(device.floats(weight), (std::vector<float>{0.5f, 1.001f, 2}));
    EXPECT_EQ(device.floats(param), (std::vector<float>{0.5f, 1, 2}));
  });
}

TEST(AdamW, SameBitsWithAnyThreads) {
  testing::expect_same_bits_with_any_threads([](Device& device) {
    const State s = start(device, 100003);
    for (unsigned i = 0; i < 3; ++i) step(device, s, paper(), random_normal(100003, i));
    return device.floats(s.weight);
  });
}

double squared_norm(Device& device, const std::vector<double>& x) {
  const Tensor sum = device.nan(1, 1, DType::f64);
  device.run(op::SquaredNorm{.sum = sum, .x = device.f32(x, int64_t(x.size()))});
  return device.doubles(sum)[0];
}

TEST(SquaredNorm, SumsInDoublePrecision) {
  on_every_device([](Device& device) {
    // Squares of the sizes 1e25 and 1e-25 are outside the range of floats. The last size has more parts than a block
    // threads.
    for (const auto& [size, scale] :
         {std::pair<size_t, double>{0, 1}, {1, 1}, {7, 1}, {33, 1e-25}, {257, 1e25}, {40000, 1}, {2200003, 1}}) {
      std::vector<double> x = random_normal(size, 1);
      long double expected = 0;
      for (double& value : x) {
        value = float(value * scale);
        expected += value * value;
      }
      EXPECT_NEAR(squared_norm(device, x), double(expected), 1e-13 * double(expected)) << size;
    }
    EXPECT_TRUE(std::isnan(squared_norm(device, {1, NAN, 2})));
  });
}

// More elements than the number of smallest parts.
TEST(SquaredNorm, SameBitsWithAnyThreads) {
  const std::vector<double> x = random_normal(4500001, 2);
  testing::expect_same_bits_with_any_threads([&](Device& device) {
    const double sum = squared_norm(device, x);
    std::vector<float> bits(2);
    std::memcpy(bits.data(), &sum, sizeof sum);
    return bits;
  });
}

TEST(Lerp, MovesByTheWeight) {
  on_every_device([](Device& device) {
    for (const int64_t size : kSizes) {
      const std::vector<double> from = random_normal(size_t(size), 1), to = random_normal(size_t(size), 2);
      std::vector<double> expected = from;
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += double(0.25f) * (to[i] - from[i]);
      const Tensor out = device.tensor(from, size);
      device.run(op::Lerp{.out = out, .x = device.tensor(to, size), .weight = 0.25f});
      EXPECT_LT(relative_error(device.floats(out), expected), device.bound(expected, 1e-7));
    }
  });
}

// Steps below bf16's precision accumulate in out; if the parameter was written since, out starts from it.
TEST(Lerp, AParameterOfFewerBitsIsTheAverageRounded) {
  on_every_device([](Device& device) {
    if (device.dtype() != DType::bf16) return;
    const Tensor out = device.f32({1, 1, 0.3f}, 3), param = device.tensor({1, 1, 4}, 3), x = device.f32({2, 1, 4}, 3);
    for (int i = 0; i < 20; ++i) device.run(op::Lerp{.out = out, .param = param, .x = x, .weight = 1.0f / 1024});
    const std::vector<float> average = device.floats(out);
    EXPECT_NEAR(average[0], 2 - std::pow(1023.0 / 1024, 20), 1e-6);
    EXPECT_EQ(average[1], 1);
    EXPECT_EQ(average[2], 4);
    EXPECT_EQ(device.floats(param), (std::vector<float>{1.015625f, 1, 4}));
  });
}

TEST(OptimizerCheck, BadShapesAreRefused) {
  op::AdamW adamw{.weight = shape(4, 8),
                  .m = shape(4, 8),
                  .v = shape(4, 8),
                  .grad = shape(4, 8),
                  .learning_rate = 1e-3f,
                  .beta1 = 0.9f,
                  .beta2 = 0.95f,
                  .eps = 1e-8f,
                  .weight_decay = 0,
                  .correction1 = 0.1f,
                  .correction2 = 0.05f,
                  .grad_scale = 1};
  adamw.check();
  adamw.v = shape(8, 4);
  testing::expect_refused(adamw, "v is (8, 4), expected (4, 8)");
  adamw.v = shape(4, 8);
  adamw.beta2 = 1;
  testing::expect_refused(adamw, "beta2 must be in [0, 1), got 1");
  testing::expect_refused(op::SquaredNorm{.sum = shape(1), .x = shape(4, 8)}, "sum is f32, expected f64");
  testing::expect_refused(op::Lerp{.out = shape(4, 8), .x = shape(4, 7), .weight = 0.5f},
                          "x is (4, 7), expected (4, 8)");
  testing::expect_refused(op::Lerp{.out = shape(4, 8), .x = shape(4, 8), .weight = 2},
                          "weight must be in [0, 1], got 2");
  testing::expect_refused(op::Lerp{.out = shape(4, 8), .param = shape(4, 8), .x = shape(4, 8), .weight = 0.5f},
                          "param is f32, expected bf16");
}

}  // namespace
}  // namespace heed
