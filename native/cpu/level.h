// Included first by every kernel source. HEED_LEVEL (avx512, avx2, portable) comes from CMake.
//
// The linker keeps one copy of an inline function for the whole program, whichever level compiled it. So a kernel
// source uses no inline function of another header except `static inline` ones: no std containers or algorithms, no
// function templates with external linkage.
#pragma once

#include "native/cpu/kernels.h"

namespace heed::cpu::HEED_LEVEL {

#define X(Op) void run(Context& context, const op::Op& op);
HEED_OPS(X)
#undef X

}  // namespace heed::cpu::HEED_LEVEL
