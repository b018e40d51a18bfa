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

// The low-rank terms of a layer whose rows have different adapters, or none: against double precision, and with the
// bits of each part alone.
TEST(LowRankRows, EachRangeOfRowsHasItsTerm) {
  struct Part {
    int64_t begin, rows, rank, first, cols;
    float scale;
  };
  // Rows begin at any address, since 38 and 24 columns of 2 bytes are no multiple of 16; the last rows have none.
  const std::vector<Part> parts{
      {0, 3, 2, 0, 38, 0.5f}, {3, 1, 5, 4, 8, 2}, {4, 70, 8, 11, 27, -1}, {74, 2, 1, 0, 5, 0.25f}};
  constexpr int64_t kRows = 79, kIn = 24, kOut = 38;
  on_every_device([&](Device& device) {
    const std::vector<double> x = random_normal(size_t(kRows * kIn), 1),
                              before = random_normal(size_t(kRows * kOut), 2);
    std::vector<double> expected = before;
    const Tensor input = device.tensor(x, kRows, kIn), out = device.tensor(before, kRows, kOut);
    for (const Part& part : parts) {
      const std::vector<double> a = random_normal(size_t(part.rank * kIn), 3),
                                b = random_normal(size_t(part.cols * part.rank), 4);
      const Tensor ta = device.tensor(a, part.rank, kIn), tb = device.tensor(b, part.cols, part.rank);
      const auto add = [&](const Tensor& to, const Tensor& from) {
        const Tensor hidden = device.out(part.rows, part.rank), term = device.out(part.rows, part.cols);
        device.run(op::Gemm{.out = hidden, .a = from, .b = ta, .transpose_b = true, .weight = true});
        device.run(op::Gemm{.out = term, .a = hidden, .b = tb, .transpose_b = true, .weight = true});
        device.run(op::AddColumns{.out = to, .x = term, .first = part.first, .scale = part.scale});
      };
      add(out.slice(part.begin, part.rows), input.slice(part.begin, part.rows));
      const auto rows_of = [&](const std::vector<double>& all, int64_t cols) {
        return std::vector<double>(all.begin() + part.begin * cols, all.begin() + (part.begin + part.rows) * cols);
      };
      const Tensor own = device.tensor(rows_of(before, kOut), part.rows, kOut);
      add(own, device.tensor(rows_of(x, kIn), part.rows, kIn));
      EXPECT_TRUE(testing::equal_bits(device.floats(out.slice(part.begin, part.rows)), device.floats(own)));
      for (int64_t r = part.begin; r < part.begin + part.rows; ++r)
        for (int64_t k = 0; k < part.rank; ++k) {
          double hidden = 0;
          for (int64_t i = 0; i < kIn; ++i) hidden += x[size_t(r * kIn + i)] * a[size_t(k * kIn + i)];
          for (int64_t j = 0; j < part.cols; ++j)
            expected[size_t(r * kOut + part.first + j)] += double(part.scale) * hidden * b[size_t(j * part.rank + k)];
        }
    }
    const std::vector<float> actual = device.floats(out);
    // In bf16 the rank-sized product and the term are rounded too.
    EXPECT_LT(relative_error(actual, expected), 3 * device.bound(expected, 1e-6));
    for (int64_t i = 76 * kOut; i < kRows * kOut; ++i) EXPECT_EQ(actual[size_t(i)], float(before[size_t(i)]));
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
