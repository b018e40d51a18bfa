#include "test/native/device.h"
#include "test/native/reference_norm.h"

namespace heed {
namespace {

using reference::relative_error;
using testing::Device;
using testing::on_every_device;
using testing::shape;

reference::Norm random_case(int64_t rows, int64_t cols, bool layer, unsigned seed) {
  reference::Norm norm{rows,
                       cols,
                       reference::random_normal(size_t(rows * cols), seed, 3),
                       reference::random_normal(size_t(cols), seed + 1),
                       {},
                       1e-5,
                       layer ? 0.0 : 0.75};
  if (layer) norm.bias = reference::random_normal(size_t(cols), seed + 2);
  for (double& x : norm.x) x = reference::exact(x + 0.5);  // a mean to subtract
  return norm;
}

struct Shape {
  int64_t rows, cols;
};
const std::vector<Shape> kShapes{{1, 1}, {3, 7}, {5, 33}, {33, 257}, {130, 64}, {7, 1024}};
// On a device rows of so many columns have kernels of their own: in registers by one thread or two, or in memory.
const std::vector<Shape> kLongShapes{{3, 1544}, {3, 3000}, {3, 6000}, {9, 8200}};

struct Forward {
  Tensor out, mean, rstd;
};
Forward forward(Device& device, const reference::Norm& n) {
  Forward f{device.out(n.rows, n.cols), device.nan(n.rows), device.nan(n.rows)};
  const Tensor x = device.tensor(n.x, n.rows, n.cols), weight = device.tensor(n.weight, 1, n.cols);
  if (n.bias.empty())
    device.run(op::RmsNorm{
        .out = f.out, .rstd = f.rstd, .x = x, .weight = weight, .eps = float(n.eps), .offset = float(n.offset)});
  else
    device.run(op::LayerNorm{.out = f.out,
                             .mean = f.mean,
                             .rstd = f.rstd,
                             .x = x,
                             .weight = weight,
                             .bias = device.tensor(n.bias, 1, n.cols),
                             .eps = float(n.eps)});
  return f;
}

struct Gradients {
  std::vector<double> dx, dweight, dbias;
};
// The gradients added to what the tensors hold; none of frozen weights.
Gradients backward(Device& device, const reference::Norm& n, const std::vector<double>& dout, const Gradients& before,
                   bool frozen = false) {
  const Forward f = forward(device, n);
  const Tensor dx = device.tensor(before.dx, n.rows, n.cols), x = device.tensor(n.x, n.rows, n.cols);
  const Tensor dweight = frozen ? Tensor{} : device.f32(before.dweight, 1, n.cols),
               dbias = frozen ? Tensor{} : device.f32(before.dbias, 1, n.cols);
  const Tensor weight = device.tensor(n.weight, 1, n.cols), d = device.tensor(dout, n.rows, n.cols);
  if (n.bias.empty())
    device.run(op::RmsNormBackward{
        .dx = dx, .dweight = dweight, .dout = d, .x = x, .rstd = f.rstd, .weight = weight, .offset = float(n.offset)});
  else
    device.run(op::LayerNormBackward{.dx = dx,
                                     .dweight = dweight,
                                     .dbias = dbias,
                                     .dout = d,
                                     .x = x,
                                     .mean = f.mean,
                                     .rstd = f.rstd,
                                     .weight = weight});
  const auto doubles = [&](const Tensor& t) {
    const std::vector<float> v = device.floats(t);
    return std::vector<double>(v.begin(), v.end());
  };
  if (frozen) return {doubles(dx), {}, {}};
  return {doubles(dx), doubles(dweight), doubles(dbias)};
}

Gradients formula_of(const reference::Norm& n, const std::vector<double>& dout) {
  Gradients sums{std::vector<double>(n.x.size()), std::vector<double>(n.weight.size()),
                 std::vector<double>(n.weight.size())};
  n.add_gradients(dout, sums.dx, sums.dweight, sums.dbias);
  return sums;
}

class Norm : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, Norm, ::testing::Values(true, false),
                         [](const auto& info) { return info.param ? "LayerNorm" : "RmsNorm"; });

TEST_P(Norm, ForwardIsTheFormula) {
  on_every_device([](Device& device) {
    std::vector<Shape> shapes = kShapes;
    shapes.insert(shapes.end(), kLongShapes.begin(), kLongShapes.end());
    for (const Shape& s : shapes) {
      const reference::Norm n = random_case(s.rows, s.cols, GetParam(), unsigned(s.cols));
      const Forward f = forward(device, n);
      EXPECT_LT(relative_error(device.floats(f.out), n.out()), device.bound(n.out(), 1e-6))
          << s.rows << " x " << s.cols;
      std::vector<double> means, rstds;
      for (int64_t r = 0; r < n.rows; ++r) {
        means.push_back(n.mean(r));
        rstds.push_back(n.rstd(r));
      }
      const double of_sums = 1e-6 * std::max(1.0, std::sqrt(double(s.cols) / 1024));
      EXPECT_LT(relative_error(device.floats(f.rstd), rstds), of_sums);
      if (GetParam()) {
        EXPECT_LT(relative_error(device.floats(f.mean), means), of_sums);
      }
    }
  });
}

TEST_P(Norm, BackwardIsTheCentralDifference) {
  on_every_device([](Device& device) {
    for (const Shape& s : {Shape{1, 3}, Shape{3, 7}, Shape{70, 5}, Shape{2, 33}}) {
      reference::Norm n = random_case(s.rows, s.cols, GetParam(), unsigned(s.cols));
      const std::vector<double> dout = reference::random_normal(n.x.size(), 9);
      const auto loss = [&] {
        const std::vector<double> out = n.out();
        double sum = 0;
        for (size_t i = 0; i < out.size(); ++i) sum += out[i] * dout[i];
        return sum;
      };
      Gradients expected{reference::central_differences(n.x, loss), reference::central_differences(n.weight, loss),
                         reference::central_differences(n.bias, loss)};
      const Gradients formula = formula_of(n, dout);
      EXPECT_LT(relative_error(formula.dx, expected.dx), 1e-6);
      EXPECT_LT(relative_error(formula.dweight, expected.dweight), 1e-6);
      const Gradients zero{std::vector<double>(n.x.size()), std::vector<double>(n.weight.size()),
                           std::vector<double>(n.weight.size())};
      const Gradients actual = backward(device, n, dout, zero);
      EXPECT_LT(relative_error(actual.dx, expected.dx), device.bound(expected.dx, 2e-6)) << s.rows << " x " << s.cols;
      EXPECT_LT(relative_error(actual.dweight, expected.dweight), 2e-6);
      if (GetParam()) {
        EXPECT_LT(relative_error(actual.dbias, expected.dbias), 2e-6);
      }
    }
  });
}

TEST_P(Norm, GradientsOfLongRowsAreTheFormula) {
  on_every_device([](Device& device) {
    for (const Shape& s : kLongShapes) {
      const reference::Norm n = random_case(s.rows, s.cols, GetParam(), unsigned(s.cols));
      const std::vector<double> dout = reference::random_normal(n.x.size(), 9);
      const Gradients zero{std::vector<double>(n.x.size()), std::vector<double>(n.weight.size()),
                           std::vector<double>(n.weight.size())};
      const Gradients actual = backward(device, n, dout, zero), expected = formula_of(n, dout);
      EXPECT_LT(relative_error(actual.dx, expected.dx), device.bound(expected.dx, 2e-6)) << s.cols;
      EXPECT_LT(relative_error(actual.dweight, expected.dweight), 2e-6) << s.cols;
      if (GetParam()) {
        EXPECT_LT(relative_error(actual.dbias, expected.dbias), 2e-6) << s.cols;
      }
    }
  });
}

TEST_P(Norm, GradientsAreAdded) {
  on_every_device([](Device& device) {
    const reference::Norm n = random_case(65, 33, GetParam(), 4);
    const std::vector<double> dout = reference::random_normal(n.x.size(), 9);
    const Gradients zero{std::vector<double>(n.x.size()), std::vector<double>(33), std::vector<double>(33)};
    const Gradients held{reference::random_normal(n.x.size(), 10), reference::random_normal(33, 11),
                         reference::random_normal(33, 12)};
    const Gradients added = backward(device, n, dout, held), alone = backward(device, n, dout, zero);
    const auto sum = [](std::vector<double> a, const std::vector<double>& b) {
      for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
      return a;
    };
    const std::vector<double> dx = sum(held.dx, alone.dx);  // in bf16 of a dx that was rounded itself
    EXPECT_LT(relative_error(added.dx, dx), 1.5 * device.bound(dx, 1e-6));
    EXPECT_LT(relative_error(added.dweight, sum(held.dweight, alone.dweight)), 1e-6);
    EXPECT_LT(relative_error(added.dbias, GetParam() ? sum(held.dbias, alone.dbias) : held.dbias), 1e-6);
  });
}

TEST_P(Norm, FrozenWeightsChangeNothingElse) {
  on_every_device([](Device& device) {
    const reference::Norm n = random_case(65, 33, GetParam(), 4);
    const std::vector<double> dout = reference::random_normal(n.x.size(), 9);
    const Gradients held{reference::random_normal(n.x.size(), 10), reference::random_normal(33, 11),
                         reference::random_normal(33, 12)};
    EXPECT_EQ(backward(device, n, dout, held, true).dx, backward(device, n, dout, held).dx);
  });
}

// A row is bit-identical alone and in a batch.
TEST_P(Norm, RowsDoNotDependOnTheBatch) {
  on_every_device([](Device& device) {
    const reference::Norm n = random_case(300, 257, GetParam(), 5);
    const std::vector<float> all = device.floats(forward(device, n).out);
    reference::Norm one = n;
    one.rows = 1;
    one.x.assign(n.x.begin() + 123 * 257, n.x.begin() + 124 * 257);
    const std::vector<float> row(all.begin() + 123 * 257, all.begin() + 124 * 257);
    EXPECT_TRUE(testing::equal_bits(device.floats(forward(device, one).out), row));
  });
}

TEST_P(Norm, SameBitsWithAnyThreads) {
  testing::expect_same_bits_with_any_threads([](Device& device) {
    const reference::Norm n = random_case(500, 300, GetParam(), 6);
    const Gradients zero{std::vector<double>(n.x.size()), std::vector<double>(300), std::vector<double>(300)};
    const Gradients g = backward(device, n, reference::random_normal(n.x.size(), 7), zero);
    std::vector<float> bits = device.floats(forward(device, n).out);
    for (const std::vector<double>* part : {&g.dx, &g.dweight, &g.dbias})
      bits.insert(bits.end(), part->begin(), part->end());
    return bits;
  });
}

TEST(NormCheck, BadShapesAreRefused) {
  testing::expect_refused(op::LayerNorm{.out = shape(4, 8),
                                        .mean = shape(4),
                                        .rstd = shape(4),
                                        .x = shape(4, 8),
                                        .weight = shape(1, 8),
                                        .bias = shape(1, 7),
                                        .eps = 1e-5f},
                          "bias is (1, 7), expected (1, 8)");
  testing::expect_refused(
      op::RmsNorm{.out = shape(4, 8), .rstd = shape(3), .x = shape(4, 8), .weight = shape(1, 8), .eps = 1e-5f},
      "rstd is (3, 1), expected (4, 1)");
  testing::expect_refused(op::RmsNorm{.out = shape(4, 8, DType::bf16),
                                      .rstd = shape(4, 1, DType::bf16),
                                      .x = shape(4, 8, DType::bf16),
                                      .weight = shape(1, 8, DType::bf16),
                                      .eps = 1e-5f},
                          "rstd is bf16, expected f32");
  testing::expect_refused(
      op::RmsNorm{.out = shape(4, 8), .rstd = shape(4), .x = shape(4, 8), .weight = shape(1, 8), .eps = 0},
      "eps must be positive, got 0");
  testing::expect_refused(op::LayerNormBackward{.dx = shape(4, 8),
                                                .dweight = shape(1, 8),
                                                .dbias = shape(1, 8),
                                                .dout = shape(4, 9),
                                                .x = shape(4, 8),
                                                .mean = shape(4),
                                                .rstd = shape(4),
                                                .weight = shape(1, 8)},
                          "dout is (4, 9), expected (4, 8)");
  testing::expect_refused(op::LayerNormBackward{.dx = shape(4, 8),
                                                .dweight = shape(1, 8),
                                                .dout = shape(4, 8),
                                                .x = shape(4, 8),
                                                .mean = shape(4),
                                                .rstd = shape(4),
                                                .weight = shape(1, 8)},
                          "dbias is (0, 1), expected (1, 8)");
}

}  // namespace
}  // namespace heed
