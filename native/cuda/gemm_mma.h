// Matrix products on the tensor cores of sm_80 and up, and for few rows, where weights stream by.
#pragma once

#include "native/cuda/gemm_output.h"
#include "native/cuda/launch.h"
#include "native/cuda/tile.h"

namespace heed::cuda {
namespace mma80 {

// A block's tile of out is (kRows, kCols), of kWarpRows x kWarpCols warps; kDepth of k in a stage. Tiles of few rows
// are narrow, so that enough blocks read the weights, and deep, so that enough bytes are on their way. There the chain
// of sums over k is what takes the time: kCopyWarps warps do nothing but copy, those that multiply nothing but that,
// and load their fragments a few products ahead.
template <bool kTransposeA_, bool kTransposeB_, int kRows_, int kCols_, int kDepth_, int kStages_, int kWarpRows,
          int kWarpCols_, int kCopyWarps = 0, bool kAligned_ = true>
struct Shape {
  static constexpr bool kTransposeA = kTransposeA_, kTransposeB = kTransposeB_, kAligned = kAligned_;
  static constexpr int kRows = kRows_, kCols = kCols_, kDepth = kDepth_, kStages = kStages_, kWarpCols = kWarpCols_;
  static constexpr int kMultiply = 32 * kWarpRows * kWarpCols, kThreads = kMultiply + 32 * kCopyWarps;
  static constexpr int kCopy = kCopyWarps > 0 ? 32 * kCopyWarps : kMultiply;  // threads that copy, the last
  static constexpr bool kChain = kCopyWarps > 0, kNarrow = false;
  static constexpr int kM = kRows / kWarpRows / 16, kN = kCols / kWarpCols / 8;  // mma tiles of a warp
  using A = std::conditional_t<kTransposeA, Tile<kDepth, kRows>, Tile<kRows, kDepth>>;
  using B = std::conditional_t<kTransposeB, Tile<kCols, kDepth>, Tile<kDepth, kCols>>;
  static constexpr int kStagesOfB = kStages;
  struct Shared {
    A a[kStages];
    B b[kStagesOfB];
  };
};

// What a kernel writes: out; out and a function of its elements; out and a function of its pairs.
enum class Writes { out, activated, gated };

// The place of a column of the product in b and out. Gated: eight columns of the first half, then their partners.
template <Writes kWrites>
__device__ int place_of(int col, int n) {
  return kWrites == Writes::gated ? col / 16 * 8 + col % 8 + col / 8 % 2 * (n / 2) : col;
}

// What a thread copies of weights that arrive as they are: nothing.
template <class S, Writes kWrites>
struct NarrowColumns {
  __device__ NarrowColumns(const Product&, int, bool) {}
};

// Starts copying a tile of a matrix, of which `rows` and `cols` are left; the rest becomes zeros. at(row, col): where
// the eight elements from there are. Not kAligned: rows are no multiple of 16 bytes, the copy is made at once.
template <class S, int kRows, int kCols, class At>
__device__ void copy_tile(Tile<kRows, kCols>& tile, const bf16* any, int rows, int cols, At&& at) {
  using T = Tile<kRows, kCols>;
#pragma unroll(S::kChain ? 2 : 32)  // more would keep every address in a register
  for (int i = 0; i < kRows * T::kPieces; i += S::kCopy) {
    const int number = i + threadIdx.x - (S::kThreads - S::kCopy), r = number / T::kPieces, piece = number % T::kPieces;
    if (kRows * T::kPieces % S::kCopy != 0 && r >= kRows) break;
    if constexpr (S::kAligned) {
      const bool inside = r < rows && 8 * piece < cols;
      copy_async(tile.piece(r, piece), inside ? at(r, 8 * piece) : any, inside);
    } else {
      Pack<bf16, 8> pack;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const bool inside = r < rows && 8 * piece + j < cols;
        pack.at[j] = inside ? at(r, 8 * piece)[j] : __float2bfloat16_rn(0.0f);
      }
      store_pack(tile.piece(r, piece), pack);
    }
  }
}

// The fragments of a warp for a few steps of 16 k, kM = 1. at: where those of the first 64 k lie in a tile; others lie
// at the same distance from there, since pieces swap places within 64 elements.
template <class S>
struct Fragments {
  static constexpr int kSteps = S::kN > 2 ? 2 : 4, kOfStage = S::kDepth / 16 / kSteps;
  uint32_t a[kSteps][4], b[kSteps][S::kN / 2][4];

  __device__ void load(const bf16* a_tile, const bf16* b_tile, const int (&a_at)[4], const int (&b_at)[4][S::kN / 2],
                       int number) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int step = number * kSteps + i, further = step / 4 * 64;
      load_fragment<false>(a[i], a_tile + a_at[step % 4] + further);
#pragma unroll
      for (int j = 0; j < S::kN / 2; ++j)
        load_fragment<!S::kTransposeB>(b[i][j], b_tile + b_at[step % 4][j] + further * (S::kTransposeB ? 1 : S::kCols));
    }
  }
  __device__ void multiply(float (&sum)[S::kN][4]) const {
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
#pragma unroll
      for (int j = 0; j < S::kN; ++j) mma(sum[j], a[i], b[i][j / 2][j % 2 * 2], b[i][j / 2][j % 2 * 2 + 1]);
  }
};

template <class S, Writes kWrites>
__global__ void __launch_bounds__(S::kThreads, S::kChain ? 512 / S::kThreads : 1) gemm_kernel(const Product p) {
  auto& shared = shared_memory<typename S::Shared>();
  const int m0 = blockIdx.y * S::kRows, n0 = blockIdx.x * S::kCols, steps = (p.k + S::kDepth - 1) / S::kDepth;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool copies = int(threadIdx.x) >= S::kThreads - S::kCopy, multiplies = threadIdx.x < S::kMultiply;
  const int warp_m = warp / S::kWarpCols * 16 * S::kM, warp_n = warp % S::kWarpCols * 8 * S::kN;

  [[maybe_unused]] const NarrowColumns<S, kWrites> narrow(p, n0, copies);
  auto start = [&](int step) {
    if (copies && step < steps) {
      const int k0 = step * S::kDepth, stage = step % S::kStages;
      const auto part = [](const bf16* from, int64_t pitch) {
        return [=](int row, int col) { return from + row * pitch + col; };
      };
      if constexpr (S::kTransposeA)
        copy_tile<S>(shared.a[stage], p.a, p.k - k0, p.m - m0, part(p.a + int64_t(k0) * p.m + m0, p.m));
      else
        copy_tile<S>(shared.a[stage], p.a, p.m - m0, p.k - k0, part(p.a + int64_t(m0) * p.k + k0, p.k));
      const auto place = [&](int col) { return place_of<kWrites>(col, p.n); };  // from n0 on, a multiple of 16
      if constexpr (S::kNarrow) {
        narrow.copy(shared.narrow[stage], p, k0);
      } else if constexpr (S::kTransposeB) {
        const auto at = part(p.b + int64_t(place(n0)) * p.k + k0, p.k);
        copy_tile<S>(shared.b[stage], p.b, p.n - n0, p.k - k0, [&](int row, int col) { return at(place(row), col); });
      } else {
        const auto at = part(p.b + int64_t(k0) * p.n + place(n0), p.n);
        copy_tile<S>(shared.b[stage], p.b, p.k - k0, p.n - n0, [&](int row, int col) { return at(row, place(col)); });
      }
    }
    commit_copies();  // an empty group at the end, so that the count below stays right
  };

  // What this thread has copied of a step's narrow weights, beside the products of the step before.
  auto widen = [&](int step) {
    if constexpr (S::kNarrow)
      if (copies && step < steps) narrow.widen(shared.b[step % S::kStagesOfB], shared.narrow[step % S::kStages]);
  };
  auto next_stage = [&](int step) {
    wait_copies<S::kStages - (S::kNarrow ? 3 : 2)>();
    __syncthreads();  // this step has arrived for all, and all are done with the stage that is filled next
    start(step + S::kStages - 1);
    widen(step + 1);
  };

  float sum[S::kM][S::kN][4] = {};
  for (int step = 0; step < S::kStages - 1; ++step) start(step);
  if constexpr (S::kNarrow) wait_copies<S::kStages - 2>();
  widen(0);
  if constexpr (S::kChain) {
    static_assert(S::kM == 1 && !S::kTransposeA && Fragments<S>::kOfStage % 2 == 0);
    int a_at[4], b_at[4][S::kN / 2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      a_at[i] = int(fragment_at<Operand::a, false>(shared.a[0], warp_m, 16 * i) - shared.a[0].at);
#pragma unroll
      for (int j = 0; j < S::kN / 2; ++j)
        b_at[i][j] =
            int(fragment_at<Operand::b, !S::kTransposeB>(shared.b[0], warp_n + 16 * j, 16 * i) - shared.b[0].at);
    }
    Fragments<S> fragments[2];
    for (int step = 0; step < steps; ++step) {
      next_stage(step);
      if (!multiplies) continue;
#pragma unroll
      for (int i = 0; i < Fragments<S>::kOfStage; ++i) {
        fragments[i % 2].load(shared.a[step % S::kStages].at, shared.b[step % S::kStagesOfB].at, a_at, b_at, i);
        if (i > 0 || step > 0) fragments[1 - i % 2].multiply(sum[0]);
      }
    }
    if (multiplies && steps > 0) fragments[1].multiply(sum[0]);
  } else {
    for (int step = 0; step < steps; ++step) {
      next_stage(step);
      auto& a = shared.a[step % S::kStages];
      auto& b = shared.b[step % S::kStagesOfB];
#pragma unroll 2  // all would keep every address in a register, and spill
      for (int k = 0; k < S::kDepth; k += 16) {
        uint32_t fa[S::kM][4], fb[S::kN / 2][4];
#pragma unroll
        for (int i = 0; i < S::kM; ++i) load_fragment<Operand::a, S::kTransposeA>(fa[i], a, warp_m + 16 * i, k);
#pragma unroll
        for (int j = 0; j < S::kN / 2; ++j) load_fragment<Operand::b, !S::kTransposeB>(fb[j], b, warp_n + 16 * j, k);
#pragma unroll
        for (int i = 0; i < S::kM; ++i)
#pragma unroll
          for (int j = 0; j < S::kN; ++j) mma(sum[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
      }
    }
  }

  // Two elements a lane: each of eight rows gets a whole sector of floats.
  if (!multiplies) return;
#pragma unroll
  for (int i = 0; i < S::kM; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = m0 + warp_m + 16 * i + 8 * half + lane / 4;
      if (row >= p.m) continue;
      [[maybe_unused]] Pack<bf16, 2> gate;
#pragma unroll
      for (int j = 0; j < S::kN; ++j) {
        const int col = n0 + warp_n + 8 * j + lane % 4 * 2;
        if constexpr (kWrites != Writes::out) {
          if (col >= p.n) continue;
          const int at = place_of<kWrites>(col, p.n);
          float pair[2] = {sum[i][j][2 * half], sum[i][j][2 * half + 1]};
          const Pack<bf16, 2> written = write<bf16>(p, row, at, pair);
          if constexpr (kWrites == Writes::activated)
            write_activated(p, row, at, written);
          else if (j % 2 == 0)
            gate = written;
          else
            write_gated(p, row, at - p.n / 2, gate, written);
        } else if constexpr (S::kAligned) {
          if (col >= p.n) continue;
          float pair[2] = {sum[i][j][2 * half], sum[i][j][2 * half + 1]};
          if (p.out_is_f32)
            write<float>(p, row, col, pair);
          else
            write<bf16>(p, row, col, pair);
        } else {
          for (int c = 0; c < 2; ++c) {
            if (col + c >= p.n) continue;
            float one[1] = {sum[i][j][2 * half + c]};
            if (p.out_is_f32)
              write<float>(p, row, col + c, one);
            else
              write<bf16>(p, row, col + c, one);
          }
        }
      }
    }
}

template <class S, Writes kWrites = Writes::out>
void enqueue_gemm(const Product& p, cudaStream_t stream) {
  enqueue(gemm_kernel<S, kWrites>,
          {.blocks = {ceil_div(p.n, S::kCols), ceil_div(p.m, S::kRows)},
           .threads = S::kThreads,
           .shared = sizeof(typename S::Shared),
           .stream = stream},
          p);
}

// Few rows.
template <class S>
void enqueue_few(const Product& p, cudaStream_t stream) {
  switch (p.activation) {
    case Activation::none:
      return enqueue_gemm<S>(p, stream);
    case Activation::gelu:
    case Activation::exact_gelu:
      return enqueue_gemm<S, Writes::activated>(p, stream);
    case Activation::swiglu:
      return enqueue_gemm<S, Writes::gated>(p, stream);
  }
}

}  // namespace mma80

template <bool kTransposeA, bool kTransposeB>
void multiply_mma(const Product& p, MmaTile tile, cudaStream_t stream) {
  using namespace mma80;
  if constexpr (!kTransposeA) {  // few rows are never read transposed
    switch (tile) {
      case MmaTile::m16n16:
        return enqueue_few<Shape<false, kTransposeB, 16, 16, 256, 4, 1, 1, 3>>(p, stream);
      case MmaTile::m16n32:
        return enqueue_few<Shape<false, kTransposeB, 16, 32, 128, 6, 1, 2, 2>>(p, stream);
      case MmaTile::m16n64:
        return enqueue_few<Shape<false, kTransposeB, 16, 64, 128, 4, 1, 4>>(p, stream);
      case MmaTile::m32n32:
        return enqueue_few<Shape<false, kTransposeB, 32, 32, 128, 6, 2, 1, 2>>(p, stream);
      case MmaTile::m64n16:
        return enqueue_few<Shape<false, kTransposeB, 64, 16, 128, 6, 4, 1, 4>>(p, stream);
      case MmaTile::m64n32:
        return enqueue_few<Shape<false, kTransposeB, 64, 32, 128, 4, 4, 1, 4>>(p, stream);
      default:
        break;
    }
  }
  if constexpr (!kTransposeA || !kTransposeB) {
    if (tile == MmaTile::m64n64) return enqueue_gemm<Shape<kTransposeA, kTransposeB, 64, 64, 64, 4, 2, 2>>(p, stream);
    if (tile != MmaTile::any) return enqueue_gemm<Shape<kTransposeA, kTransposeB, 128, 128, 64, 3, 2, 4>>(p, stream);
  }
  enqueue_gemm<Shape<kTransposeA, kTransposeB, 64, 64, 64, 2, 2, 2, 0, false>>(p, stream);
}

}  // namespace heed::cuda
