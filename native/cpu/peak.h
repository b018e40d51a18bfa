// The most that this machine's processors can compute: what a step's speed is compared with.
#pragma once

#include <cstdint>
#include <string>

#include "native/core/tensor.h"

namespace heed::cpu {

// FLOP/s, a multiply-add being two, that so many threads reach at a level with multiply-adds on registers: the best of
// `rounds` of some 100 microseconds each.
double peak_flops(const std::string& level, DType dtype, int threads, int rounds);

}  // namespace heed::cpu
