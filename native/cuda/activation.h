// The MLP's activations of one element, for the kernels of their own and those of products.
#pragma once

#include "native/cuda/math.h"
#include "native/ops/math.h"

namespace heed::cuda {

template <bool kExact>
__device__ float gelu(float x) {
  return kExact ? math::exact_gelu(x, exp(math::normal_argument(x))) : math::gelu(x, sigmoid(math::gelu_argument(x)));
}
__device__ inline float swiglu(float gate, float up) {
  return math::silu(gate, sigmoid(gate)) * up;
}

}  // namespace heed::cuda
