// Elementwise ops of the MLP and the residual stream.
#include "native/cuda/activation.h"
#include "native/cuda/backend.h"
#include "native/cuda/elements.h"

namespace heed::cuda {
namespace {

template <class T, bool kExact>
struct Gelu {
  T* out;
  const T* x;
  template <int N>
  __device__ void at(int64_t i) const {
    Floats<N> a = load_floats<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) a.at[k] = gelu<kExact>(a.at[k]);
    store_floats(out + i, a);
  }
};

template <class T, bool kExact>
struct GeluBackward {
  T* dx;
  const T *dout, *x;
  template <int N>
  __device__ void at(int64_t i) const {
    Floats<N> a = load_floats<N>(x + i);
    const Floats<N> d = load_floats<N>(dout + i);
#pragma unroll
    for (int k = 0; k < N; ++k)
      a.at[k] = d.at[k] * (kExact ? math::exact_gelu_grad(a.at[k], exp(math::normal_argument(a.at[k])))
                                  : math::gelu_grad(a.at[k], sigmoid(math::gelu_argument(a.at[k]))));
    store_floats(dx + i, a);
  }
};

template <class T>
struct Relu {
  T* out;
  const T* x;
  template <int N>
  __device__ void at(int64_t i) const {
    Floats<N> a = load_floats<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) a.at[k] = a.at[k] > 0.0f ? a.at[k] : 0.0f;
    store_floats(out + i, a);
  }
};
template <class T>
struct ReluBackward {
  T* dx;
  const T *dout, *x;
  template <int N>
  __device__ void at(int64_t i) const {
    const Floats<N> a = load_floats<N>(x + i);
    Floats<N> d = load_floats<N>(dout + i);
#pragma unroll
    for (int k = 0; k < N; ++k) d.at[k] = a.at[k] > 0.0f ? d.at[k] : 0.0f;
    store_floats(dx + i, d);
  }
};

// The activation of a gate: silu for SwiGlu, GELU for GeGlu.
struct Silu {
  __device__ static float gate(float x) { return sigmoid(x); }
  __device__ static float value(float x, float gate) { return math::silu(x, gate); }
  __device__ static float grad(float x, float gate) { return math::silu_grad(x, gate); }
};
struct TanhGelu {
  __device__ static float gate(float x) { return sigmoid(math::gelu_argument(x)); }
  __device__ static float value(float x, float gate) { return math::gelu(x, gate); }
  __device__ static float grad(float x, float gate) { return math::gelu_grad(x, gate); }
};

template <class T, class Activation>
struct Gate {
  T* out;
  const T* gate_up;
  int cols;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    const T* gate = gate_up + row * 2 * cols + col;
    Floats<N> g = load_floats<N>(gate);
    const Floats<N> u = load_floats<N>(gate + cols);
#pragma unroll
    for (int k = 0; k < N; ++k) g.at[k] = Activation::value(g.at[k], Activation::gate(g.at[k])) * u.at[k];
    store_floats(out + row * cols + col, g);
  }
};

template <class T, class Activation>
struct GateBackward {
  T* dgate_up;  // may be gate_up: a thread reads what it writes
  const T *dout, *gate_up;
  int cols;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    const T* gate = gate_up + row * 2 * cols + col;
    Floats<N> g = load_floats<N>(gate), u = load_floats<N>(gate + cols);
    const Floats<N> d = load_floats<N>(dout + row * cols + col);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float s = Activation::gate(g.at[k]), dgate = d.at[k] * u.at[k] * Activation::grad(g.at[k], s);
      u.at[k] = d.at[k] * Activation::value(g.at[k], s);
      g.at[k] = dgate;
    }
    T* dgate = dgate_up + row * 2 * cols + col;
    store_floats(dgate, g);
    store_floats(dgate + cols, u);
  }
};

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
  const T* x;
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
      Floats<4> a = load_floats<4>(x + begin);
#pragma unroll
      for (int k = 0; k < 4; ++k) a.at[k] = math::dropout(a.at[k], bits.x[k], rate, inverse_keep);
      store_floats(out + begin, a);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (4 * quad + k < cols)
          store_floats(out + begin + k,
                       Floats<1>{math::dropout(load_floats<1>(x + begin + k).at[0], bits.x[k], rate, inverse_keep)});
    }
  }
};
// Dropout's columns are quads.
template <int N, class F>
__global__ void __launch_bounds__(kElementThreads) quads_kernel(const F f, const int quads) {
  const int quad = blockIdx.y * kElementThreads + threadIdx.x;
  if (quad < quads) f.template at<N>(blockIdx.x, quad);
}

}  // namespace

void CudaBackend::launch(const op::Gelu& op) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    T* out = op.out.ptr<T>();
    const T* x = op.x.ptr<T>();
    if (op.exact)
      for_elements<N>(stream_, Gelu<T, true>{out, x}, op.x.size(), aligned(out, x));
    else
      for_elements<N>(stream_, Gelu<T, false>{out, x}, op.x.size(), aligned(out, x));
  });
}

void CudaBackend::launch(const op::GeluBackward& op) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    T* dx = op.dx.ptr<T>();
    const T *dout = op.dout.ptr<T>(), *x = op.x.ptr<T>();
    if (op.exact)
      for_elements<N>(stream_, GeluBackward<T, true>{dx, dout, x}, op.x.size(), aligned(dx, dout, x));
    else
      for_elements<N>(stream_, GeluBackward<T, false>{dx, dout, x}, op.x.size(), aligned(dx, dout, x));
  });
}

namespace {

template <class Activation, class Op>
void gate(cudaStream_t stream, const Op& op) {
  with_type(op.out, [&](auto like) {
    using T = decltype(like);
    const Gate<T, Activation> f{op.out.template ptr<T>(), op.gate_up.template ptr<T>(), int(op.out.cols)};
    for_rows<16 / sizeof(T)>(stream, f, op.out.rows, op.out.cols, aligned(f.out, f.gate_up));
  });
}
template <class Activation, class Op>
void gate_backward(cudaStream_t stream, const Op& op) {
  with_type(op.dout, [&](auto like) {
    using T = decltype(like);
    const GateBackward<T, Activation> f{op.dgate_up.template ptr<T>(), op.dout.template ptr<T>(),
                                        op.gate_up.template ptr<T>(), int(op.dout.cols)};
    for_rows<16 / sizeof(T)>(stream, f, op.dout.rows, op.dout.cols, aligned(f.dgate_up, f.dout, f.gate_up));
  });
}

}  // namespace

void CudaBackend::launch(const op::SwiGlu& op) {
  gate<Silu>(stream_, op);
}
void CudaBackend::launch(const op::SwiGluBackward& op) {
  gate_backward<Silu>(stream_, op);
}
void CudaBackend::launch(const op::GeGlu& op) {
  gate<TanhGelu>(stream_, op);
}
void CudaBackend::launch(const op::GeGluBackward& op) {
  gate_backward<TanhGelu>(stream_, op);
}

void CudaBackend::launch(const op::Relu& op) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    const Relu<T> f{op.out.ptr<T>(), op.x.ptr<T>()};
    for_elements<16 / sizeof(T)>(stream_, f, op.x.size(), aligned(f.out, f.x));
  });
}
void CudaBackend::launch(const op::ReluBackward& op) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    const ReluBackward<T> f{op.dx.ptr<T>(), op.dout.ptr<T>(), op.x.ptr<T>()};
    for_elements<16 / sizeof(T)>(stream_, f, op.x.size(), aligned(f.dx, f.dout, f.x));
  });
}

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

void CudaBackend::launch(const op::Dropout& op) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    const Dropout<T> f{.out = op.out.ptr<T>(),
                       .x = op.x.ptr<T>(),
                       .rate = op.rate,
                       .inverse_keep = 1.0f / (1.0f - op.rate),
                       .seed = op.seed,
                       .site = op.site,
                       .first_row = op.first_row,
                       .cols = int(op.x.cols)};
    const int quads = int(ceil_div(op.x.cols, 4));
    const bool wide = op.x.cols % 4 == 0 && aligned(f.out, f.x);
    enqueue(wide ? quads_kernel<4, Dropout<T>> : quads_kernel<1, Dropout<T>>,
            {.blocks = {unsigned(op.x.rows), ceil_div(quads, kElementThreads)},
             .threads = kElementThreads,
             .stream = stream_},
            f, quads);
  });
}

}  // namespace heed::cuda
