// How a matrix product reaches its kernel. Whatever the kernel and its tile, an element of out is one chain of tensor
// core sums over k in steps of 16, from the first to the last: the same bits for any m, n and place in a batch.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "native/ops/gemm.h"
#include "native/ops/int8.h"

namespace heed::cuda {

using bf16 = __nv_bfloat16;

// What else is made of a product's bf16 elements: a function of each, or of pairs of the first and the second half of
// the columns.
enum class Activation : uint8_t { none, gelu, exact_gelu, swiglu };

// out (m, n) = a·b [+ bias] [+ residual], or out += a·b in f32. Elements bf16, sums f32.
struct Product {
  void* out;             // (m, n), bf16 or f32
  const bf16* a;         // (m, k), or (k, m) if transpose_a
  const bf16* b;         // (k, n), or (n, k) if transpose_b
  const void* bias;      // (n), of out's type, or null
  const void* residual;  // (m, n), of out's type, or null; may be out
  int m, n, k;
  bool transpose_a, transpose_b, accumulate, out_is_f32;
  Activation activation = Activation::none;  // if has_few_rows()
  bf16* activated = nullptr;                 // (m, n), or (m, n / 2) for pairs, where n is a multiple of 16
  // In place of b, of few rows: (k, n), each column times its scale, rounded to bf16. n is a multiple of 16; of 32 for
  // pairs.
  const int8_t* narrow = nullptr;
  const float* scale = nullptr;  // (n)
};

// The same in f32, one fmaf after the other.
struct ProductF32 {
  float* out;
  const float *a, *b, *bias, *residual;
  int m, n, k;
  bool transpose_a, transpose_b, accumulate;
  const int8_t* narrow = nullptr;  // in place of b, if not null; transposed or not
  const float* scale = nullptr;    // of each of its columns
};

// The kernels, and the tiles each may be given: tiles change the speed, never the bits.
enum class MmaTile {
  m16n16,
  m16n32,
  m16n64,
  m32n32,
  m64n16,
  m64n32,
  m64n64,
  m128n128,
  any  // rows need not be aligned
};
enum class WgmmaTile { cols64, cols128, cols192, cols256 };

// Tensor cores of sm_80 and up.
void multiply_mma(const Product& p, MmaTile tile, cudaStream_t stream);
// sm_90a; rows must be aligned, and not both operands transposed.
void multiply_wgmma(const Product& p, WgmmaTile tile, cudaStream_t stream);
// Whether the rows of all matrices are multiples of 16 bytes.
bool rows_are_aligned(const Product& p);
// Tensor cores of sm_80 and up, narrow weights, with a tile of kNarrowTiles.
inline constexpr MmaTile kNarrowTiles[] = {MmaTile::m16n32, MmaTile::m16n64, MmaTile::m32n32, MmaTile::m64n32};
void multiply_narrow(const Product& p, MmaTile tile, cudaStream_t stream);
// What is thought fastest on this GPU.
void multiply(const Product& p, cudaStream_t stream);
void multiply_f32(const ProductF32& p, cudaStream_t stream);
// Whether that is a kernel of few rows with out in bf16.
bool has_few_rows(const Product& p);
Product product_of(const op::Gemm& op);  // of bf16 matrices
// Whether the weights are read as they are, and the product then.
bool is_narrow(const op::Int8Gemm& op);
Product product_of(const op::Int8Gemm& op);

// One .cu file for each order of the operands.
template <bool kTransposeA, bool kTransposeB>
void multiply_mma(const Product& p, MmaTile tile, cudaStream_t stream);
template <bool kTransposeA, bool kTransposeB>
void multiply_wgmma(const Product& p, WgmmaTile tile, cudaStream_t stream);

}  // namespace heed::cuda
