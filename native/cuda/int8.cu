// Products with frozen weights of 8 bits. In f32, and in bf16 for few rows, which is decoding, the kernels widen them
// as they arrive. Otherwise they are widened into working memory, and multiplied as others are: 5 bytes moved for a
// weight, beside products of 65 rows or more.
#include "native/cuda/backend.h"
#include "native/cuda/elements.h"
#include "native/cuda/gemm.h"

namespace heed::cuda {
namespace {

struct Widen {
  bf16* out;  // (rows, cols)
  const int8_t* x;
  const float* scale;  // of each column
  int cols;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    const Pack<int8_t, N> part = load_pack<N>(x + row * cols + col);
    Floats<N> sum;
#pragma unroll
    for (int k = 0; k < N; ++k) sum.at[k] = float(part.at[k]) * scale[col + k];
    store_floats(out + row * cols + col, sum);
  }
};

}  // namespace

int64_t scratch_bytes(const op::Int8Gemm& op) {
  return op.a.dtype == DType::f32 || is_narrow(op) ? 0 : op.b.size() * size_of(op.a.dtype);
}

void CudaBackend::launch(const op::Int8Gemm& op) {
  if (op.out.rows == 0) return;
  if (op.a.dtype == DType::f32)
    return multiply_f32({.out = op.out.ptr<float>(),
                         .a = op.a.ptr<const float>(),
                         .bias = op.bias.ptr<const float>(),
                         .residual = op.residual.ptr<const float>(),
                         .m = int(op.out.rows),
                         .n = int(op.out.cols),
                         .k = int(op.a.cols),
                         .transpose_b = op.transpose_b,
                         .narrow = op.b.ptr<const int8_t>(),
                         .scale = op.scale.ptr<const float>()},
                        stream_);
  if (is_narrow(op)) return multiply(product_of(op), stream_);
  const Tensor w{scratch(op), DType::bf16, op.b.rows, op.b.cols};
  const Widen f{w.ptr<bf16>(), op.b.ptr<int8_t>(), op.scale.ptr<float>(), int(op.b.cols)};
  for_rows<8>(stream_, f, op.b.rows, op.b.cols, aligned(f.out, f.x));
  CudaBackend::launch(op::Gemm{
      .out = op.out, .a = op.a, .b = w, .bias = op.bias, .residual = op.residual, .transpose_b = op.transpose_b});
}

}  // namespace heed::cuda
