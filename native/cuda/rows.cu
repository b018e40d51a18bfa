// Row gather and scatter, and conversion of element types.
#include "native/cuda/add_rows.h"
#include "native/cuda/backend.h"

namespace heed::cuda {
namespace {

template <class T>
struct GatherRows {
  T* out;
  const T* x;
  const int32_t* rows;
  int cols;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    store_pack(out + row * cols + col, load_pack<N>(x + int64_t(rows[row]) * cols + col));
  }
};

template <class To, class From>
struct Convert {
  To* out;
  const From* x;
  template <int N>
  __device__ void at(int64_t i) const {
    store_floats(out + i, load_floats<N>(x + i));
  }
};

}  // namespace

void CudaBackend::launch(const op::GatherRows& op) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    const GatherRows<T> f{op.out.ptr<T>(), op.x.ptr<T>(), op.rows.ptr<int32_t>(), int(op.x.cols)};
    for_rows<16 / sizeof(T)>(stream_, f, op.out.rows, op.x.cols, aligned(f.out, f.x));
  });
}

void CudaBackend::launch(const op::ScatterRowsAdd& op) {
  with_type(op.dx, [&](auto like) {
    using T = decltype(like);
    add_rows(stream_, op.dx.ptr<T>(), op.dout.ptr<const T>(), op.rows, op.dx.cols);
  });
}

void CudaBackend::launch(const op::Convert& op) {
  with_type(op.x, [&](auto from) {
    with_type(op.out, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const Convert<To, From> f{op.out.ptr<To>(), op.x.ptr<From>()};
      for_elements<4>(stream_, f, op.x.size(), aligned(f.out, f.x));
    });
  });
}

}  // namespace heed::cuda
