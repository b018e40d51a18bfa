// IEEE float16, used only in files.
#pragma once

#include <cstdint>
#include <cstring>

namespace heed {

inline float from_f16(uint16_t x) {
  const uint32_t sign = uint32_t(x & 0x8000) << 16, exponent = (x >> 10) & 31, fraction = x & 0x3ff;
  uint32_t bits;
  if (exponent == 31) {
    bits = 0x7f800000 | fraction << 13;  // infinite, or NaN
  } else if (exponent != 0) {
    bits = (exponent + 112) << 23 | fraction << 13;
  } else {
    const float small = float(fraction) * 0x1p-24f;  // denormal
    std::memcpy(&bits, &small, 4);
  }
  bits |= sign;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// Rounds to nearest even; overflows to infinity; NaN stays NaN.
inline uint16_t to_f16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);  // 65520 and more
  if (magnitude < 0x38800000) {                                 // below 2^-14: denormal, its unit 2^-24
    float x;
    std::memcpy(&x, &magnitude, 4);
    const float rounded = x + 0.5f;  // the unit of floats from 0.5 on is 2^-24
    std::memcpy(&bits, &rounded, 4);
    return uint16_t(sign | (bits - 0x3f000000));
  }
  return uint16_t(sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13));
}

}  // namespace heed
