// Included first by every kernel source. HEED_LEVEL (avx512_bf16, avx512, avx2, portable) comes from CMake.
//
// The linker keeps one copy of an inline function for the whole program, whichever level compiled it. So a kernel
// source uses no inline function of another header except `static inline` ones: no std containers or algorithms, no
// function templates with external linkage.
#pragma once

#include "native/cpu/kernels.h"

namespace heed::cpu::HEED_LEVEL {

// need() is the working memory that run() takes from context.workspace(); by default nothing. It may read only shapes
// and scalars: while a pass is measured, tensors have no memory.
template <class Op>
static inline Need need(const Context&, const Op&) {
  return {};
}
Need need(const Context&, const op::Gemm& op);
Need need(const Context&, const op::BiasBackward& op);
Need need(const Context&, const op::Int8Gemm& op);
Need need(const Context&, const op::Attention& op);
Need need(const Context&, const op::AttentionBackward& op);
Need need(const Context&, const op::AttentionDecode& op);
Need need(const Context&, const op::ScatterRowsAdd& op);
Need need(const Context&, const op::Sample& op);

#define X(Op) void run(Context& context, const op::Op& op);
HEED_OPS(X)
#undef X

int64_t packed_floats(const op::Gemm& op);

}  // namespace heed::cpu::HEED_LEVEL
