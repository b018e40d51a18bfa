// float16 conversion, compared with the compiler's.
#include "native/core/f16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace {

// The value of a float16 by its definition.
double value_of(uint16_t x) {
  const int exponent = (x >> 10) & 31, fraction = x & 0x3ff;
  const double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                           : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                            : std::ldexp(1024 + fraction, exponent - 25);
  return (x & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Float16, EveryValueIsReadAndWrittenBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float x = heed::from_f16(uint16_t(bits));
    const double expected = value_of(uint16_t(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(x) && std::isnan(heed::from_f16(heed::to_f16(x)))) << bits;
      continue;
    }
    ASSERT_EQ(double(x), expected) << bits;
    ASSERT_EQ(heed::to_f16(x), bits);
    ASSERT_EQ(std::signbit(x), (bits & 0x8000) != 0);
  }
}

TEST(Float16, RoundsToTheNearestTiesToEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const double low = value_of(uint16_t(bits)), high = value_of(uint16_t(bits + 1)), middle = (low + high) / 2;
    const uint16_t even = uint16_t(bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(heed::to_f16(float(middle)), even) << bits;
    ASSERT_EQ(heed::to_f16(std::nextafterf(float(middle), 0)), bits);
    ASSERT_EQ(heed::to_f16(std::nextafterf(float(middle), 1e9f)), bits + 1);
    ASSERT_EQ(heed::to_f16(-float(middle)), even | 0x8000);
  }
  EXPECT_EQ(heed::to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(heed::to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(heed::to_f16(std::numeric_limits<float>::max()), 0x7c00);
}

}  // namespace
