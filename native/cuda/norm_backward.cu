// The gradients of LayerNorm and RMSNorm, in one pass: a block has some rows, adds to their dx, and collects its part
// of dweight and dbias, which are then added up over the blocks (columns.h).
//
// With x̂ = (x - mean) rstd and g = dout · (offset + weight):
//   LayerNorm  dx += rstd (g - mean(g) - x̂ mean(g x̂))
//   RMSNorm    dx += rstd (g - x̂ mean(g x̂)), with mean = 0
#include "native/cuda/backend.h"
#include "native/cuda/columns.h"
#include "native/cuda/norm.h"

namespace heed::cuda {
namespace {

struct NormBackward {
  void* dx;
  float *dweight, *dbias;  // of each block
  const void *dout, *x, *weight;
  const float *mean, *rstd;  // mean: null for RMSNorm
  int rows, cols, share;
  float offset;  // of RMSNorm's weight
  bool fresh;    // dx counts as zero, whatever is there
};

struct Sums {
  float g, gx;
};
struct NormBackwardShared {
  Sums sums[2][32];
};

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kThreads) norm_backward_kernel(const NormBackward op) {
  constexpr int N = Shape::kWidth, kThreads = Shape::kThreads, kHeld = Shape::kPacks == 0 ? 1 : Shape::kPacks;
  NormBackwardShared& shared = shared_memory<NormBackwardShared>();
  const bool centered = op.mean != nullptr;
  const float cols = float(op.cols);
  const T* weight = static_cast<const T*>(op.weight);
  float *dweight = op.dweight + int64_t(blockIdx.x) * op.cols, *dbias = op.dbias + int64_t(blockIdx.x) * op.cols;
  // Columns in registers, or in the block's part of memory: each has its own thread.
  Floats<N> dw[kHeld] = {}, db[kHeld] = {};
  if constexpr (Shape::kPacks == 0) {
    for (int col = threadIdx.x; col < op.cols; col += kThreads) {
      dweight[col] = 0;
      if (centered) dbias[col] = 0;
    }
  }
  const int begin = blockIdx.x * op.share, end = min(op.rows, begin + op.share);
  for (int row = begin; row < end; ++row) {
    const int64_t at = int64_t(row) * op.cols;
    const T *x = static_cast<const T*>(op.x) + at, *dout = static_cast<const T*>(op.dout) + at;
    T* dx = static_cast<T*>(op.dx) + at;
    const float mean = centered ? op.mean[row] : 0.0f, rstd = op.rstd[row];
    const auto join = [](Sums a, Sums b) { return Sums{a.g + b.g, a.gx + b.gx}; };
    Sums sums{};
    const auto add = [&](const Floats<N>& d, const Floats<N>& w, const Floats<N>& v) {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float g = d.at[k] * (op.offset + w.at[k]);
        sums.g += g;
        sums.gx = fmaf(g, (v.at[k] - mean) * rstd, sums.gx);
      }
    };
    const auto reduce = [&] {
      sums = block_reduce<kThreads>(sums, reinterpret_cast<Sums(&)[kThreads / 32]>(shared.sums[row % 2]), join);
      if (!centered) sums.g = 0;
      sums = {sums.g / cols, sums.gx / cols};
    };
    // Of one pack: dx, which becomes its sum, and dout, which becomes the term of dweight.
    const auto finish = [&](Floats<N>& to, Floats<N>& d, const Floats<N>& w, const Floats<N>& v) {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float g = d.at[k] * (op.offset + w.at[k]), normed = (v.at[k] - mean) * rstd;
        to.at[k] = fmaf(rstd, fmaf(normed, -sums.gx, g - sums.g), to.at[k]);
        d.at[k] *= normed;
      }
    };
    if constexpr (Shape::kPacks > 0) {
      Floats<N> v[kHeld], d[kHeld], w[kHeld], to[kHeld];
#pragma unroll
      for (int p = 0; p < kHeld; ++p) {
        const int col = N * (p * kThreads + threadIdx.x);
        if (col >= op.cols) continue;
        v[p] = load_floats<N>(x + col);
        d[p] = load_floats<N>(dout + col);
        w[p] = load_floats<N>(weight + col);
        to[p] = op.fresh ? Floats<N>{} : load_floats<N>(dx + col);
        add(d[p], w[p], v[p]);
#pragma unroll
        for (int k = 0; k < N; ++k) db[p].at[k] += d[p].at[k];
      }
      reduce();
#pragma unroll
      for (int p = 0; p < kHeld; ++p) {
        const int col = N * (p * kThreads + threadIdx.x);
        if (col >= op.cols) continue;
        finish(to[p], d[p], w[p], v[p]);
        store_floats(dx + col, to[p]);
#pragma unroll
        for (int k = 0; k < N; ++k) dw[p].at[k] += d[p].at[k];
      }
    } else {
      for (int col = N * threadIdx.x; col < op.cols; col += N * kThreads)
        add(load_floats<N>(dout + col), load_floats<N>(weight + col), load_floats<N>(x + col));
      reduce();  // and every column's zero has been written
      for (int col = N * threadIdx.x; col < op.cols; col += N * kThreads) {
        Floats<N> d = load_floats<N>(dout + col), to = op.fresh ? Floats<N>{} : load_floats<N>(dx + col);
        if (centered) {
#pragma unroll
          for (int k = 0; k < N; ++k) dbias[col + k] += d.at[k];
        }
        finish(to, d, load_floats<N>(weight + col), load_floats<N>(x + col));
        store_floats(dx + col, to);
#pragma unroll
        for (int k = 0; k < N; ++k) dweight[col + k] += d.at[k];
      }
    }
  }
  if constexpr (Shape::kPacks > 0) {
#pragma unroll
    for (int p = 0; p < kHeld; ++p) {
      const int col = N * (p * kThreads + threadIdx.x);
      if (col >= op.cols) continue;
#pragma unroll
      for (int k = 0; k < N; k += 4) {
        store_floats(dweight + col + k, Floats<4>{dw[p].at[k], dw[p].at[k + 1], dw[p].at[k + 2], dw[p].at[k + 3]});
        if (centered)
          store_floats(dbias + col + k, Floats<4>{db[p].at[k], db[p].at[k + 1], db[p].at[k + 2], db[p].at[k + 3]});
      }
    }
  }
}

template <class T>
void differentiate(cudaStream_t stream, const NormBackward& op, float* dweight, float* dbias) {
  const int64_t blocks = row_blocks(op.rows);
  with_row_shape<T>(op.cols, aligned(op.dx, op.dout, op.x, op.weight), [&](auto shape) {
    using Shape = decltype(shape);
    enqueue(norm_backward_kernel<T, Shape>,
            {.blocks = unsigned(blocks),
             .threads = Shape::kThreads,
             .shared = sizeof(NormBackwardShared),
             .stream = stream},
            op);
  });
  if (dweight == nullptr) return;  // frozen
  add_partial_sums(stream, dweight, op.dweight, blocks, op.cols, op.cols);
  if (dbias != nullptr) add_partial_sums(stream, dbias, op.dbias, blocks, op.cols, op.cols);
}

// The parts of dweight, then those of dbias.
template <class Op>
int64_t part_floats(const Op& op) {
  return row_blocks(op.x.rows) * op.x.cols;
}
template <class Op>
NormBackward arguments(const Op& op, float* scratch, const float* mean, float offset, bool fresh) {
  return {.dx = op.dx.data,
          .dweight = scratch,
          .dbias = scratch + part_floats(op),
          .dout = op.dout.data,
          .x = op.x.data,
          .weight = op.weight.data,
          .mean = mean,
          .rstd = op.rstd.template ptr<float>(),
          .rows = int(op.x.rows),
          .cols = int(op.x.cols),
          .share = int(rows_a_block(op.x.rows)),
          .offset = offset,
          .fresh = fresh};
}

}  // namespace

int64_t scratch_bytes(const op::LayerNormBackward& op) {
  return 2 * part_floats(op) * int64_t(sizeof(float));
}
int64_t scratch_bytes(const op::RmsNormBackward& op) {
  return part_floats(op) * int64_t(sizeof(float));
}

void CudaBackend::differentiate(const op::LayerNormBackward& op, bool fresh) {
  if (op.x.rows == 0) return;
  with_type(op.x, [&](auto like) {
    cuda::differentiate<decltype(like)>(stream_, arguments(op, scratch(op), op.mean.ptr<float>(), 0, fresh),
                                        op.dweight.ptr<float>(), op.dbias.ptr<float>());
  });
}
void CudaBackend::differentiate(const op::RmsNormBackward& op, bool fresh) {
  if (op.x.rows == 0) return;
  with_type(op.x, [&](auto like) {
    cuda::differentiate<decltype(like)>(stream_, arguments(op, scratch(op), nullptr, op.offset, fresh),
                                        op.dweight.ptr<float>(), nullptr);
  });
}
void CudaBackend::launch(const op::LayerNormBackward& op) {
  differentiate(op, false);
}
void CudaBackend::launch(const op::RmsNormBackward& op) {
  differentiate(op, false);
}

}  // namespace heed::cuda
