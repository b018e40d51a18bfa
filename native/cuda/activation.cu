// Activations of the MLP.
#include "native/cuda/activation.h"
#include "native/cuda/backend.h"
#include "native/cuda/bias_backward.h"
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
  __device__ Floats<N> at(int64_t i) const {
    Floats<N> a = load_floats<N>(x + i);
    const Floats<N> d = load_floats<N>(dout + i);
#pragma unroll
    for (int k = 0; k < N; ++k)
      a.at[k] = d.at[k] * (kExact ? math::exact_gelu_grad(a.at[k], exp(math::normal_argument(a.at[k])))
                                  : math::gelu_grad(a.at[k], sigmoid(math::gelu_argument(a.at[k]))));
    store_floats(dx + i, a);
    return rounded<T>(a);
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
  __device__ Floats<N> at(int64_t i) const {
    const Floats<N> a = load_floats<N>(x + i);
    Floats<N> d = load_floats<N>(dout + i);
#pragma unroll
    for (int k = 0; k < N; ++k) d.at[k] = a.at[k] > 0.0f ? d.at[k] : 0.0f;
    store_floats(dx + i, d);
    return d;
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

namespace {

// body(like, f), f.at<N>(i): the gradients i .. i + N - 1, which it writes and returns.
template <class F>
void with_gradient(const op::GeluBackward& op, F&& body) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    T* dx = op.dx.ptr<T>();
    const T *dout = op.dout.ptr<T>(), *x = op.x.ptr<T>();
    op.exact ? body(like, GeluBackward<T, true>{dx, dout, x}) : body(like, GeluBackward<T, false>{dx, dout, x});
  });
}
template <class F>
void with_gradient(const op::ReluBackward& op, F&& body) {
  with_type(op.x, [&](auto like) {
    using T = decltype(like);
    body(like, ReluBackward<T>{op.dx.ptr<T>(), op.dout.ptr<T>(), op.x.ptr<T>()});
  });
}
template <class Op>
void write_gradient(cudaStream_t stream, const Op& op) {
  with_gradient(op, [&](auto like, const auto& f) {
    for_elements<16 / sizeof(like)>(stream, f, op.x.size(), aligned(f.dx, f.dout, f.x));
  });
}
template <class Op>
void write_and_sum_gradient(cudaStream_t stream, const Op& op, const op::BiasBackward& bias, float* partial) {
  with_gradient(op, [&](auto like, const auto& f) {
    add_rows_of<decltype(like)>(stream, bias, partial, f, aligned(f.dx, f.dout, f.x));
  });
}

}  // namespace

void CudaBackend::launch(const op::GeluBackward& op) {
  write_gradient(stream_, op);
}
void CudaBackend::launch(const op::ReluBackward& op) {
  write_gradient(stream_, op);
}
void CudaBackend::launch_together(const op::GeluBackward& op, const op::BiasBackward& bias) {
  write_and_sum_gradient(stream_, op, bias, scratch(bias));
}
void CudaBackend::launch_together(const op::ReluBackward& op, const op::BiasBackward& bias) {
  write_and_sum_gradient(stream_, op, bias, scratch(bias));
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
}  // namespace heed::cuda
