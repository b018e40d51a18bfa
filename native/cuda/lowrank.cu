// Parts of a matrix's columns.
#include "native/cuda/backend.h"
#include "native/cuda/elements.h"

namespace heed::cuda {
namespace {

template <class T>
struct AddColumns {
  T* out;  // at the first column
  const T* x;
  int64_t stride;
  int cols;
  float scale;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    Floats<N> sum = load_floats<N>(out + row * stride + col);
    const Floats<N> term = load_floats<N>(x + row * cols + col);
#pragma unroll
    for (int k = 0; k < N; ++k) sum.at[k] = fmaf(scale, term.at[k], sum.at[k]);
    store_floats(out + row * stride + col, sum);
  }
};

template <class T>
struct TakeColumns {
  T* out;
  const T* x;  // at the first column
  int64_t stride;
  int cols;
  float scale;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    Floats<N> part = load_floats<N>(x + row * stride + col);
#pragma unroll
    for (int k = 0; k < N; ++k) part.at[k] *= scale;
    store_floats(out + row * cols + col, part);
  }
};

}  // namespace

void CudaBackend::launch(const op::AddColumns& op) {
  if (op.x.rows == 0) return;
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    const AddColumns<T> f{op.out.ptr<T>() + op.first, op.x.ptr<T>(), op.out.cols, int(op.x.cols), op.scale};
    for_rows<N>(stream_, f, op.x.rows, op.x.cols, f.stride % N == 0 && aligned(f.out, f.x));
  });
}

void CudaBackend::launch(const op::TakeColumns& op) {
  if (op.out.rows == 0) return;
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    const TakeColumns<T> f{op.out.ptr<T>(), op.x.ptr<T>() + op.first, op.x.cols, int(op.out.cols), op.scale};
    for_rows<N>(stream_, f, op.out.rows, op.out.cols, f.stride % N == 0 && aligned(f.out, f.x));
  });
}

}  // namespace heed::cuda
