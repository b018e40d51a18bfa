// What every op declaration uses.
//
//   N tokens of the packed batch    S segments    R rows that carry loss    B live slots of a decoding step
//   C channels   H heads   Hk key/value heads   D channels of a head   F channels of the MLP
//   V vocabulary   Vp vocabulary padded to 64   T positions a sequence or a cache slot can hold
//
// Outputs come first, then inputs, then scalars. "+=" adds to what is there; everything else overwrites. The element
// type is f32 unless another is given. A gradient is the name of its tensor with a d before it. An op's check() is in
// check.cpp.
#pragma once

#include "native/core/tensor.h"

namespace heed::op {

// For the reader: how an op uses each tensor. They are all plain Tensors.
using In = Tensor;
using Out = Tensor;
using InOut = Tensor;

}  // namespace heed::op
