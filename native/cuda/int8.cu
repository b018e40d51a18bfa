// Products with frozen weights of 8 bits: the weights are widened into working memory, and multiplied as others are.
#include "native/cuda/backend.h"
#include "native/cuda/elements.h"

namespace heed::cuda {
namespace {

template <class T>
struct Widen {
  T* out;  // (rows, cols)
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
  return op.b.size() * size_of(op.a.dtype);
}

void CudaBackend::launch(const op::Int8Gemm& op) {
  if (op.out.rows == 0) return;
  const Tensor w{scratch(op), op.a.dtype, op.b.rows, op.b.cols};
  with_type(op.a, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    const Widen<T> f{w.ptr<T>(), op.b.ptr<int8_t>(), op.scale.ptr<float>(), int(op.b.cols)};
    for_rows<N>(stream_, f, op.b.rows, op.b.cols, aligned(f.out, f.x));
  });
  CudaBackend::launch(op::Gemm{
      .out = op.out, .a = op.a, .b = w, .bias = op.bias, .residual = op.residual, .transpose_b = op.transpose_b});
}

}  // namespace heed::cuda
