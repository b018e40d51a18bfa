// LayerNorm and RMSNorm: a block to a row, which stays in registers where it fits.
#include "native/cuda/backend.h"
#include "native/cuda/norm.h"

namespace heed::cuda {
namespace {

struct Norm {
  void* out;
  float *mean, *rstd;  // mean: null for RMSNorm
  const void *x, *weight, *bias;
  int cols;
  float eps, offset;     // offset: of RMSNorm's weight
  const void* residual;  // added to what was rounded, or null
};

struct NormShared {
  float sums[2][32];
};

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kThreads) norm_kernel(const Norm op) {
  NormShared& shared = shared_memory<NormShared>();
  const auto add = [](float a, float b) { return a + b; };
  const auto partial = [&](int i) -> float(&)[Shape::kThreads / 32] {
    return reinterpret_cast<float(&)[Shape::kThreads / 32]>(shared.sums[i]);
  };
  const bool centered = op.mean != nullptr;
  const float cols = float(op.cols);
  RowInRegisters<T, Shape> x;
  x.load(static_cast<const T*>(op.x) + int64_t(blockIdx.x) * op.cols, op.cols);

  float mean = 0;
  if (centered) {
    float sum = 0;
    x.each([&](int, const auto& v) {
#pragma unroll
      for (const float e : v.at) sum += e;
    });
    mean = block_reduce<Shape::kThreads>(sum, partial(0), add) / cols;
  }
  float square = 0;
  x.each([&](int, const auto& v) {
#pragma unroll
    for (const float e : v.at) square = fmaf(e - mean, e - mean, square);
  });
  square = block_reduce<Shape::kThreads>(square, partial(1), add) / cols;
  const float rstd = 1.0f / sqrtf(square + op.eps);
  if (threadIdx.x == 0) {
    if (centered) op.mean[blockIdx.x] = mean;
    op.rstd[blockIdx.x] = rstd;
  }

  const T *weight = static_cast<const T*>(op.weight), *bias = static_cast<const T*>(op.bias);
  T* out = static_cast<T*>(op.out) + int64_t(blockIdx.x) * op.cols;
  const T* residual =
      op.residual == nullptr ? nullptr : static_cast<const T*>(op.residual) + int64_t(blockIdx.x) * op.cols;
  x.each([&](int col, const auto& v) {
    constexpr int N = Shape::kWidth;
    const Floats<N> w = load_floats<N>(weight + col);
    Floats<N> y;
    if (centered) {
      const Floats<N> b = load_floats<N>(bias + col);
#pragma unroll
      for (int k = 0; k < N; ++k) y.at[k] = fmaf((v.at[k] - mean) * rstd, w.at[k], b.at[k]);
    } else {
#pragma unroll
      for (int k = 0; k < N; ++k) y.at[k] = v.at[k] * rstd * (op.offset + w.at[k]);
    }
    if (residual != nullptr) {
      y = rounded<T>(y);
      const Floats<N> r = load_floats<N>(residual + col);
#pragma unroll
      for (int k = 0; k < N; ++k) y.at[k] += r.at[k];
    }
    store_floats(out + col, y);
  });
}

template <class T>
void normalize(cudaStream_t stream, const Norm& op, int64_t rows) {
  with_row_shape<T>(op.cols, aligned(op.out, op.x, op.weight, op.bias, op.residual), [&](auto shape) {
    using Shape = decltype(shape);
    enqueue(norm_kernel<T, Shape>,
            {.blocks = unsigned(rows), .threads = Shape::kThreads, .shared = sizeof(NormShared), .stream = stream}, op);
  });
}

void normalize(cudaStream_t stream, const op::LayerNorm& op, const void* residual) {
  with_type(op.x, [&](auto like) {
    normalize<decltype(like)>(stream,
                              Norm{.out = op.out.data,
                                   .mean = op.mean.ptr<float>(),
                                   .rstd = op.rstd.ptr<float>(),
                                   .x = op.x.data,
                                   .weight = op.weight.data,
                                   .bias = op.bias.data,
                                   .cols = int(op.x.cols),
                                   .eps = op.eps,
                                   .offset = 0,
                                   .residual = residual},
                              op.x.rows);
  });
}
void normalize(cudaStream_t stream, const op::RmsNorm& op, const void* residual) {
  with_type(op.x, [&](auto like) {
    normalize<decltype(like)>(stream,
                              Norm{.out = op.out.data,
                                   .mean = nullptr,
                                   .rstd = op.rstd.ptr<float>(),
                                   .x = op.x.data,
                                   .weight = op.weight.data,
                                   .bias = nullptr,
                                   .cols = int(op.x.cols),
                                   .eps = op.eps,
                                   .offset = op.offset,
                                   .residual = residual},
                              op.x.rows);
  });
}

}  // namespace

void CudaBackend::launch(const op::LayerNorm& op) {
  normalize(stream_, op, nullptr);
}
void CudaBackend::launch(const op::RmsNorm& op) {
  normalize(stream_, op, nullptr);
}
void CudaBackend::launch_together(const op::LayerNorm& op, const op::Add& add) {
  normalize(stream_, op, add.b.data);
}
void CudaBackend::launch_together(const op::RmsNorm& op, const op::Add& add) {
  normalize(stream_, op, add.b.data);
}

}  // namespace heed::cuda
