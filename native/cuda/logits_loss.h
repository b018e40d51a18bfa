// Losses over logits whose gradient takes their place. A block has row after row: in shared memory as much of one as
// there is room for, so that it is read once. What the gradient has done with makes room for the next row, which comes
// in the background.
#pragma once

#include "native/cuda/softmax.h"

namespace heed::cuda {

// d loss / dz_v = 2^x_v (slope x_v + offset) + [v == target] of_target
struct RowGradient {
  float slope, offset, of_target;
};

struct alignas(16) LossShared {
  SoftmaxShared softmax;
  RowGradient gradient;
};

// The units of a row that a thread keeps in shared memory: the first `count` of its own, those that end within the
// vocabulary. No thread reads those of another.
template <class T, int kThreads>
struct HeldUnits {
  static constexpr int kPieces = kUnit * sizeof(T) / 16, kPieceElements = 16 / sizeof(T);
  static constexpr int kStep = kUnit * kThreads;  // of one unit of a thread to the next
  static constexpr int kBytes = kStep * sizeof(T);
  T* memory;
  int count;

  __device__ T* piece(int unit, int i) const {
    return memory + ((unit * kPieces + i) * kThreads + threadIdx.x) * kPieceElements;
  }
  __device__ bool has(const Logits<T>& row, int v) const { return v / kStep < count && v + kUnit <= row.vocab; }
  __device__ void start(const Logits<T>& row, int v) const {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const T* from = row.z + v + i * kPieceElements;
      if constexpr (kPieces > 1)
        copy_neighbours_async(piece(v / kStep, i), from);
      else
        copy_async(piece(v / kStep, i), from, true);
    }
  }
  __device__ Floats<kUnit> load(const Logits<T>& row, int v) const {
    if (!has(row, v)) return row.load(v);
    Floats<kUnit> x;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const Floats<kPieceElements> part = load_floats<kPieceElements>(piece(v / kStep, i));
#pragma unroll
      for (int k = 0; k < kPieceElements; ++k) x.at[i * kPieceElements + k] = part.at[k];
    }
    return x;
  }
  // A row arrives in two groups of copies: the sums begin when the first half is here.
  __device__ int first_group() const {
    return (count + 1) / 2 * kStep;
  }
};

// loss.target(row), loss.to_log2(), loss.finish(row, sums, target's logit): by one thread, what the loss writes.
template <class T, int kThreads, class Loss>
__global__ void __launch_bounds__(kThreads, kThreads == 512 ? 2 : 1)
    logits_loss_kernel(const Logits<T> logits, const int rows, const int held, const Loss loss) {
  LossShared& shared = shared_memory<LossShared>();
  using Held = HeldUnits<T, kThreads>;
  const Held units{reinterpret_cast<T*>(&shared + 1), held};
  const float to_log2 = loss.to_log2();
  const int first = kUnit * threadIdx.x, second_group = first + units.first_group();
  auto start = [&](const Logits<T>& row, int v, bool there) {
    if (there && units.has(row, v)) units.start(row, v);
    if (v + Held::kStep == second_group) commit_copies();
  };
  for (int v = first; v < logits.padded; v += Held::kStep) start(logits.row(blockIdx.x), v, true);
  commit_copies();
  for (int r = blockIdx.x; r < rows; r += int(gridDim.x)) {
    const Logits<T> row = logits.row(r), next = logits.row(r + int(gridDim.x));
    const bool another = r + int(gridDim.x) < rows;
    const int target = loss.target(r);
    const float target_logit = row.at(target);
    wait_copies<1>();
    const SoftmaxSums sums = sum_logits<kThreads>(row.vocab, to_log2, shared.softmax, [&](int v) {
      if (v == second_group) wait_copies<0>();
      return units.load(row, v);
    });  // every thread has read its logits
    if (threadIdx.x == 0) {
      const RowGradient numbers = loss.finish(r, sums, target_logit);
      shared.gradient = numbers;
    }
    __syncthreads();
    const RowGradient gradient = shared.gradient;
    // The lanes of a warp that have units left: the first ones.
    const int warp = kUnit * (threadIdx.x & ~31u);
    for (int v = first; v < row.padded; v += Held::kStep) {
      const int units_left = (row.padded - (v - first) - warp + kUnit - 1) / kUnit;
      const unsigned lanes = units_left >= 32 ? kAllLanes : (1u << units_left) - 1;
      Floats<kUnit> z = units.load(row, v);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) {
        const float x = fmaxf((z.at[i] - sums.max) * to_log2, -126.0f);  // where it is NaN, the offset is
        z.at[i] = exp2_of_number(x) * fmaf(gradient.slope, x, gradient.offset);
      }
      if (target >= v && target < v + kUnit) {
#pragma unroll
        for (int i = 0; i < kUnit; ++i)
          if (v + i == target) z.at[i] += gradient.of_target;
      }
      row.store(v, z, lanes);
      start(next, v, another);  // after the use of what it overwrites
    }
    commit_copies();
  }
}

// Two blocks to a multiprocessor where their rows find room.
template <class T, class Loss>
void enqueue_logits_loss(const Tensor& logits, int64_t vocab, const Loss& loss, cudaStream_t stream) {
  with_logits_threads(vocab, [&](auto threads) {
    using Held = HeldUnits<T, threads>;
    const Logits<T> all = logits_of<T>(logits, vocab);
    const int own = sizeof(LossShared), half = (chip().shared - 1024) / 2 - own;
    const int units = all.wide ? int(ceil_div(vocab, Held::kStep)) : 0;
    const bool two = units * Held::kBytes <= half;
    const int held = std::min(units, (two ? half : chip().shared - own) / Held::kBytes);
    const int64_t blocks = threads == 512 ? (two ? 2 : 1) * chip().multiprocessors : logits.rows;
    enqueue(logits_loss_kernel<T, threads, Loss>,
            {.blocks = unsigned(std::min(logits.rows, blocks)),
             .threads = threads,
             .shared = sizeof(LossShared) + size_t(held) * Held::kBytes,
             .stream = stream},
            all, int(logits.rows), held, loss);
  });
}

}  // namespace heed::cuda
