// bfloat16: the upper half of a float. Rounded to nearest, ties to even, on every device.
#pragma once

#include <cstdint>
#include <cstring>

#include "native/core/rng.h"  // HEED_HD

namespace heed {

struct bf16 {
  uint16_t bits;
};

HEED_HD float to_float(bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

// A NaN stays a NaN: rounding could overflow its payload.
HEED_HD bf16 to_bf16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {uint16_t(bits >> 16 | 0x40u)};
  return {uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

}  // namespace heed
