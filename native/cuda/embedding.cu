// Token and position embeddings, and rotary positions.
#include "native/cuda/add_rows.h"
#include "native/cuda/backend.h"

namespace heed::cuda {
namespace {

template <class T>
struct Embedding {
  T* out;
  const int32_t *tokens, *positions;
  const T *wte, *wpe;  // wpe: or null
  int cols;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    Floats<N> x = load_floats<N>(wte + int64_t(tokens[row]) * cols + col);
    if (wpe != nullptr) {
      const Floats<N> p = load_floats<N>(wpe + int64_t(positions[row]) * cols + col);
#pragma unroll
      for (int k = 0; k < N; ++k) x.at[k] += p.at[k];
    }
    store_floats(out + row * cols + col, x);
  }
};

// Columns are those of all heads' first halves of rotary channels.
template <class T>
struct Rope {
  T* qkv;
  const int32_t* positions;
  const float *cos, *sin;
  int half, dim, row_size;
  float sign;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    const int head = col / half, j = col % half;
    T* low = qkv + row * row_size + head * dim + j;
    const int64_t angle = int64_t(positions[row]) * half + j;
    Floats<N> a = load_floats<N>(low), b = load_floats<N>(low + half);
#pragma unroll
    for (int k = 0; k < N; k += N < 4 ? N : 4) {
      constexpr int kPart = N < 4 ? N : 4;
      const Floats<kPart> c = load_floats<kPart>(cos + angle + k), s = load_floats<kPart>(sin + angle + k);
#pragma unroll
      for (int i = 0; i < kPart; ++i) {
        const float x = a.at[k + i], y = b.at[k + i], t = s.at[i] * sign;
        a.at[k + i] = x * c.at[i] - y * t;
        b.at[k + i] = x * t + y * c.at[i];
      }
    }
    store_floats(low, a);
    store_floats(low + half, b);
  }
};

}  // namespace

void CudaBackend::launch(const op::Embedding& op) {
  with_type(op.wte, [&](auto like) {
    using T = decltype(like);
    const Embedding<T> f{.out = op.out.ptr<T>(),
                         .tokens = op.tokens.ptr<int32_t>(),
                         .positions = op.positions.ptr<int32_t>(),
                         .wte = op.wte.ptr<T>(),
                         .wpe = op.wpe.rows == 0 ? nullptr : op.wpe.ptr<T>(),
                         .cols = int(op.wte.cols)};
    for_rows<16 / sizeof(T)>(stream_, f, op.out.rows, op.wte.cols, aligned(f.out, f.wte, f.wpe));
  });
}

void CudaBackend::launch(const op::EmbeddingBackward& op) {
  with_type(op.dout, [&](auto like) {
    using T = decltype(like);
    const T* dout = op.dout.ptr<T>();
    add_rows(stream_, op.dwte.ptr<float>(), dout, op.tokens, op.dwte.cols);
    if (op.dwpe.rows > 0) add_rows(stream_, op.dwpe.ptr<float>(), dout, op.positions, op.dwpe.cols);
  });
}

void CudaBackend::launch(const op::Rope& op) {
  with_type(op.qkv, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    const Rope<T> f{.qkv = op.qkv.ptr<T>(),
                    .positions = op.positions.ptr<int32_t>(),
                    .cos = op.cos.ptr<float>(),
                    .sin = op.sin.ptr<float>(),
                    .half = int(op.cos.cols),
                    .dim = int(op.qkv.cols / (op.num_heads + 2 * op.num_kv_heads)),
                    .row_size = int(op.qkv.cols),
                    .sign = op.inverse ? -1.0f : 1.0f};
    for_rows<N>(stream_, f, op.qkv.rows, (op.num_heads + op.num_kv_heads) * op.cos.cols,
                op.cos.cols % N == 0 && f.dim % N == 0 && aligned(f.qkv, f.cos, f.sin));
  });
}

}  // namespace heed::cuda
