// Elementwise ops of the residual stream and of logits.
#include "native/cuda/backend.h"
#include "native/cuda/elements.h"
#include "native/cuda/math.h"
#include "native/ops/math.h"

namespace heed::cuda {
namespace {

template <class T>
struct Scale {
  T* out;
  const T* x;
  float factor;
  template <int N>
  __device__ void at(int64_t i) const {
    Floats<N> a = load_floats<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) a.at[k] *= factor;
    store_floats(out + i, a);
  }
};

template <class T>
struct SoftCap {
  T* out;
  const T* x;
  float cap;
  template <int N>
  __device__ void at(int64_t i) const {
    Floats<N> a = load_floats<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) a.at[k] = cap * tanh(a.at[k] / cap);
    store_floats(out + i, a);
  }
};
template <class T>
struct SoftCapBackward {
  T* dx;
  const T *dout, *out;
  float cap;
  template <int N>
  __device__ void at(int64_t i) const {
    const Floats<N> y = load_floats<N>(out + i);
    Floats<N> d = load_floats<N>(dout + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float t = y.at[k] / cap;
      d.at[k] *= 1.0f - t * t;
    }
    store_floats(dx + i, d);
  }
};

template <class T>
struct Add {
  T* out;
  const T *a, *b;
  template <int N>
  __device__ void at(int64_t i) const {
    Floats<N> x = load_floats<N>(a + i);
    const Floats<N> y = load_floats<N>(b + i);
#pragma unroll
    for (int k = 0; k < N; ++k) x.at[k] += y.at[k];
    store_floats(out + i, x);
  }
};

// A thread has four columns: as many as a draw of bits decides on.
template <class T>
struct Dropout {
  T* out;
  const T *x, *residual;  // residual: added to what is left, or null
  float rate, inverse_keep;
  uint64_t seed;
  uint32_t site;
  int64_t first_row;
  int cols;
  template <int N>
  __device__ void at(int64_t row, int quad) const {
    const rng::Bits bits = math::dropout_bits(seed, site, first_row + row, quad);
    const int64_t begin = row * cols + 4 * quad;
    if constexpr (N == 4) {
      store(begin, drop(load_floats<4>(x + begin), bits.x));
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (4 * quad + k < cols) store(begin + k, drop(load_floats<1>(x + begin + k), bits.x + k));
    }
  }

  template <int N>
  __device__ Floats<N> drop(Floats<N> a, const uint32_t* bits) const {
#pragma unroll
    for (int k = 0; k < N; ++k) a.at[k] = math::dropout(a.at[k], bits[k], rate, inverse_keep);
    return a;
  }
  template <int N>
  __device__ void store(int64_t i, Floats<N> a) const {
    if (residual != nullptr) {
      a = rounded<T>(a);
      const Floats<N> b = load_floats<N>(residual + i);
#pragma unroll
      for (int k = 0; k < N; ++k) a.at[k] += b.at[k];
    }
    store_floats(out + i, a);
  }
};
// Dropout's columns are quads.
template <int N, class F>
__global__ void __launch_bounds__(kElementThreads) quads_kernel(const F f, const int quads) {
  const int quad = blockIdx.y * kElementThreads + threadIdx.x;
  if (quad < quads) f.template at<N>(blockIdx.x, quad);
}

}  // namespace

void CudaBackend::launch(const op::Scale& op) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    const Scale<T> f{op.out.ptr<T>(), op.x.ptr<T>(), op.factor};
    for_elements<16 / sizeof(T)>(stream_, f, op.x.size(), aligned(f.out, f.x));
  });
}

void CudaBackend::launch(const op::SoftCap& op) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    const SoftCap<T> f{op.out.ptr<T>(), op.x.ptr<T>(), op.cap};
    for_elements<16 / sizeof(T)>(stream_, f, op.x.size(), aligned(f.out, f.x));
  });
}
void CudaBackend::launch(const op::SoftCapBackward& op) {
  with_type(op.out, [&](auto like) {
    using T = decltype(like);
    const SoftCapBackward<T> f{op.dx.ptr<T>(), op.dout.ptr<T>(), op.out.ptr<T>(), op.cap};
    for_elements<16 / sizeof(T)>(stream_, f, op.out.size(), aligned(f.dx, f.dout, f.out));
  });
}

void CudaBackend::launch(const op::Add& op) {
  with_type(op.out, [&](auto like) {
    using T = decltype(like);
    const Add<T> f{op.out.ptr<T>(), op.a.ptr<T>(), op.b.ptr<T>()};
    for_elements<16 / sizeof(T)>(stream_, f, op.out.size(), aligned(f.out, f.a, f.b));
  });
}

namespace {

void drop_out(cudaStream_t stream, const op::Dropout& op, const void* residual) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    const Dropout<T> f{.out = op.out.ptr<T>(),
                       .x = op.x.ptr<T>(),
                       .residual = static_cast<const T*>(residual),
                       .rate = op.rate,
                       .inverse_keep = 1.0f / (1.0f - op.rate),
                       .seed = op.seed,
                       .site = op.site,
                       .first_row = op.first_row,
                       .cols = int(op.x.cols)};
    const int quads = int(ceil_div(op.x.cols, 4));
    const bool wide = op.x.cols % 4 == 0 && aligned(f.out, f.x, f.residual);
    enqueue(wide ? quads_kernel<4, Dropout<T>> : quads_kernel<1, Dropout<T>>,
            {.blocks = {unsigned(op.x.rows), ceil_div(quads, kElementThreads)},
             .threads = kElementThreads,
             .stream = stream},
            f, quads);
  });
}

}  // namespace

void CudaBackend::launch(const op::Dropout& op) {
  drop_out(stream_, op, nullptr);
}
void CudaBackend::launch_together(const op::Dropout& op, const op::Add& add) {
  drop_out(stream_, op, add.b.data);
}

}  // namespace heed::cuda
