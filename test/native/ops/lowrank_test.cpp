#include "test/native/device.h"
#include "test/native/reference.h"

namespace heed {
namespace {

using reference::exact;
using reference::random_normal;
using reference::relative_error;
using testing::Device;
using testing::on_every_device;
using testing::shape;

struct Case {
  int64_t rows, cols, first, part;
};
// At the start, in the middle and at the end, aligned and not, wider than a vector and narrower.
const std::vector<Case> kCases{{1, 1, 0, 1},   {3, 7, 2, 3},     {5, 96, 32, 32},
                               {9, 65, 1, 64}, {300, 40, 33, 7}, {5, 38, 8, 16}};
constexpr float kScale = 0.75f;

TEST(AddColumns, AddsAScaledMatrixToAPartOfTheColumns) {
  on_every_device([](Device& device) {
    for (const Case& c : kCases) {
      std::vector<double> expected = random_normal(size_t(c.rows * c.cols), 1);
      const std::vector<double> x = random_normal(size_t(c.rows * c.part), 2);
      const Tensor out = device.tensor(expected, c.rows, c.cols);
      std::vector<double> before = expected;
      for (int64_t r = 0; r < c.rows; ++r)
        for (int64_t j = 0; j < c.part; ++j)
          expected[size_t(r * c.cols + c.first + j)] += double(kScale) * x[size_t(r * c.part + j)];
      device.run(op::AddColumns{.out = out, .x = device.tensor(x, c.rows, c.part), .first = c.first, .scale = kScale});
      const std::vector<float> actual = device.floats(out);
      EXPECT_LT(relative_error(actual, expected), device.bound(expected, 1e-7)) << c.rows << " x " << c.cols;
      for (int64_t r = 0; r < c.rows; ++r)
        for (int64_t j = 0; j < c.cols; ++j)
          if (j < c.first || j >= c.first + c.part) {
            EXPECT_EQ(actual[size_t(r * c.cols + j)], float(before[size_t(r * c.cols + j)]));
          }
    }
  });
}

TEST(TakeColumns, CopiesAScaledPartOfTheColumns) {
  on_every_device([](Device& device) {
    for (const Case& c : kCases) {
      const std::vector<double> x = random_normal(size_t(c.rows * c.cols), 1);
      std::vector<double> expected;
      for (int64_t r = 0; r < c.rows; ++r)
        for (int64_t j = 0; j < c.part; ++j) expected.push_back(double(kScale) * x[size_t(r * c.cols + c.first + j)]);
      const Tensor out = device.out(c.rows, c.part);
      device.run(op::TakeColumns{.out = out, .x = device.tensor(x, c.rows, c.cols), .first = c.first, .scale = kScale});
      EXPECT_LT(relative_error(device.floats(out), expected), device.bound(expected, 1e-7))
          << c.rows << " x " << c.cols;
    }
  });
}

TEST(LowRankCheck, PartsBeyondTheMatrixAreRefused) {
  testing::expect_refused(op::AddColumns{.out = shape(4, 8), .x = shape(4, 3), .first = 6},
                          "x has 3 columns from column 6, expected a part of the 8 columns of out");
  testing::expect_refused(op::TakeColumns{.out = shape(4, 3), .x = shape(4, 8), .first = -1},
                          "out has 3 columns from column -1, expected a part of the 8 columns of x");
  testing::expect_refused(op::AddColumns{.out = shape(4, 8), .x = shape(3, 3)}, "x is (3, 3), expected (4, 3)");
}

}  // namespace
}  // namespace heed
