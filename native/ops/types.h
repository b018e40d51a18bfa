// Types used by all op declarations.
//
//   N tokens of the packed batch    S segments    R rows that carry loss    B live slots of a decoding step
//   C channels   H heads   Hk key/value heads   D channels of a head   F channels of the MLP
//   V vocabulary   Vp vocabulary padded to 64   T positions a sequence or a cache slot can hold
//
// Outputs come first, then inputs, then scalars. "+=" accumulates; all other outputs are overwritten. The name of a
// gradient is d plus the name of its tensor. An op's check() is in the .cpp beside its header.
//
// Element types: parameters, activations and gradients of activations are f32 or bf16, the same within an op. Tensors
// marked f32 are always f32: statistics, gradients of parameters, the optimizer's state. Logits have a type of their
// own. Sums are accumulated in f32 or wider; a bf16 result is rounded once, to nearest even.
#pragma once

#include <type_traits>

#include "native/core/tensor.h"

namespace heed::op {

// How an op uses a tensor, declared by the field's type, which for_each_written() uses.
struct In : Tensor {
  In() = default;
  In(const Tensor& t) : Tensor(t) {}
  In(void* data, DType dtype, int64_t rows, int64_t cols) : Tensor{data, dtype, rows, cols} {}
};
struct Out : Tensor {
  Out() = default;
  Out(const Tensor& t) : Tensor(t) {}
  Out(void* data, DType dtype, int64_t rows, int64_t cols) : Tensor{data, dtype, rows, cols} {}
};
struct InOut : Tensor {
  InOut() = default;
  InOut(const Tensor& t) : Tensor(t) {}
  InOut(void* data, DType dtype, int64_t rows, int64_t cols) : Tensor{data, dtype, rows, cols} {}
};

}  // namespace heed::op
