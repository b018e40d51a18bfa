#include "test/native/device.h"
#include "test/native/reference.h"

namespace heed {
namespace {

using reference::random_normal;
using reference::relative_error;
using testing::Device;
using testing::on_every_device;
using testing::shape;

// Out of order, and some of them more than once: also far apart, and at the end alone.
const std::vector<int32_t> kRows = [] {
  std::vector<int32_t> rows{4, 0, 4, 11, 4, 2, 0};
  for (int32_t i = 0; i < 300; ++i) rows.push_back(i == 190 || i == 240 ? 7 : 2 * (i % 5));
  return rows;
}();
constexpr int64_t kNumRows = 12;

TEST(GatherRows, CopiesRows) {
  on_every_device([](Device& device) {
    for (const int64_t cols : {1, 7, 33, 257, 1000}) {
      const std::vector<double> x = random_normal(size_t(kNumRows * cols), 1);
      std::vector<double> expected;
      for (const int32_t row : kRows)
        expected.insert(expected.end(), x.begin() + row * cols, x.begin() + (row + 1) * cols);
      const Tensor out = device.out(int64_t(kRows.size()), cols);
      device.run(op::GatherRows{
          .out = out, .x = device.tensor(x, kNumRows, cols), .rows = device.i32(kRows, int64_t(kRows.size()))});
      EXPECT_TRUE(testing::equal_bits(device.floats(out), reference::to_float(expected)));
    }
  });
}

std::vector<float> scatter(Device& device, int64_t cols) {
  const Tensor dx = device.tensor(random_normal(size_t(kNumRows * cols), 1), kNumRows, cols);
  const int64_t num_rows = int64_t(kRows.size());
  device.run(op::ScatterRowsAdd{.dx = dx,
                                .dout = device.tensor(random_normal(size_t(num_rows * cols), 2), num_rows, cols),
                                .rows = device.i32(kRows, num_rows)});
  return device.floats(dx);
}

TEST(ScatterRowsAdd, AddsEveryOccurrenceInOrder) {
  on_every_device([](Device& device) {
    for (const int64_t cols : {1, 7, 33, 257, 1000}) {
      std::vector<float> expected = reference::to_float(random_normal(size_t(kNumRows * cols), 1));
      const std::vector<float> dout = reference::to_float(random_normal(kRows.size() * size_t(cols), 2));
      for (size_t r = 0; r < kRows.size(); ++r)
        for (int64_t c = 0; c < cols; ++c) expected[size_t(kRows[r] * cols + c)] += dout[r * size_t(cols) + size_t(c)];
      for (float& x : expected) x = float(reference::exact(x));  // once, after adding all of a row's terms
      EXPECT_TRUE(testing::equal_bits(scatter(device, cols), expected)) << cols;
    }
  });
}

TEST(ScatterRowsAdd, SameBitsWithAnyThreads) {
  testing::expect_same_bits_with_any_threads([](Device& device) { return scatter(device, 3000); });
}

TEST(Convert, RoundsToNearestEvenAndBack) {
  on_every_device([](Device& device) {
    // Ties up and down, just above a tie, the largest float, the smallest denormal number, infinities.
    const std::vector<double> x{
        0,         -0.0,        1.00390625, 1.01171875, 1.0039063692092896, 3.4028234663852886e38, 1.4e-45, INFINITY,
        -INFINITY, -1.00390625, 65536,      1e-40};
    const std::vector<double> expected{0, -0.0,     1,         1.015625, 1.0078125, INFINITY,
                                       0, INFINITY, -INFINITY, -1,       65536,     double(to_float(to_bf16(1e-40f)))};
    const int64_t n = int64_t(x.size());
    const Tensor half = device.nan(n, 1, DType::bf16), back = device.nan(n);
    device.run(op::Convert{.out = half, .x = device.f32(x, n)});
    EXPECT_TRUE(testing::equal_bits(device.floats(half), reference::to_float(expected)));
    device.run(op::Convert{.out = back, .x = half});
    EXPECT_TRUE(testing::equal_bits(device.floats(back), reference::to_float(expected)));
    for (const int64_t size : {1, 7, 33, 40001}) {
      const std::vector<double> values = random_normal(size_t(size), 3);
      const Tensor out = device.out(size);
      device.run(op::Convert{.out = out, .x = device.f32(values, size)});
      EXPECT_TRUE(testing::equal_bits(device.floats(out), reference::to_float(values)));
    }
    const Tensor nan = device.nan(1, 1, DType::bf16), small_payload = device.nan(1);
    const uint32_t bits = 0x7f800001;  // rounding would turn it into infinity
    device.backend().upload(small_payload, &bits);
    device.run(op::Convert{.out = nan, .x = small_payload});
    EXPECT_TRUE(std::isnan(device.floats(nan)[0]));
  });
}

TEST(RowsCheck, BadShapesAreRefused) {
  testing::expect_refused(op::GatherRows{.out = shape(3, 8), .x = shape(9, 8), .rows = shape(4, 1, DType::i32)},
                          "out is (3, 8), expected (4, 8)");
  testing::expect_refused(op::ScatterRowsAdd{.dx = shape(9, 8), .dout = shape(4, 8), .rows = shape(4)},
                          "rows is f32, expected i32");
}

}  // namespace
}  // namespace heed
