// Matrix products on Hopper: one warpgroup copies, two multiply, each block makes tiles until none is left.
#pragma once

#include "native/cuda/gemm_output.h"
#include "native/cuda/launch.h"
#include "native/cuda/sm90.h"

namespace heed::cuda {
namespace sm90 {

constexpr int kGroups = 2;  // that multiply, 64 rows each
constexpr int kThreads = (1 + kGroups) * 128, kRows = kGroups * 64, kDepth = 64;
constexpr int kBox = 64 * 64;  // elements of a box: 64 rows of 128 bytes

// A block's tile of out is (128, kCols). Stages hold 64 of k; panels are what a group has on the way to out, 64 rows of
// 128 bytes each. Together 227 KB at most.
template <int kCols>
struct Shape {
  static constexpr int kStages = kCols == 256 ? 4 : kCols == 192 ? 4 : kCols == 128 ? 6 : 8;
  static constexpr int kPanels = kCols == 192 ? 3 : kCols == 64 ? 1 : 2;
  struct alignas(1024) Shared {
    bf16 a[kStages][kRows * kDepth], b[kStages][kCols * kDepth];
    bf16 panel[kGroups][kPanels][kBox];
    Mbarrier full[kStages], empty[kStages];
  };
};

// Tiles in the order in which blocks take them: 16 rows of tiles at a time, down their columns, so that those under
// way at once share their operands in L2.
struct Tiles {
  static constexpr int kTall = 16;
  int down, across;
  __device__ Tiles(const Product& p, int cols) : down((p.m + kRows - 1) / kRows), across((p.n + cols - 1) / cols) {}
  __device__ int count() const { return down * across; }
  __device__ void place(int number, int& row, int& col) const {
    const int first = number / (kTall * across) * kTall, height = min(kTall, down - first);
    const int rest = number % (kTall * across);
    row = (first + rest % height) * kRows;
    col = rest / height;
  }
};

// One thread copies: for every tile the stages of k, as they become empty.
template <int kCols, Major kA, Major kB>
__device__ void copy_operands(typename Shape<kCols>::Shared& shared, const TensorMap& map_a, const TensorMap& map_b,
                              const Product& p) {
  using S = Shape<kCols>;
  const Tiles tiles(p, kCols);
  int stage = 0, parity = 1;
  for (int tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    int m0, n0;
    tiles.place(tile, m0, n0);
    n0 *= kCols;
    for (int k = 0; k < p.k; k += kDepth) {
      Mbarrier& full = shared.full[stage];
      wait(shared.empty[stage], parity);
      arrive_expecting(full, sizeof shared.a[0] + sizeof shared.b[0]);
      if constexpr (kA == Major::k)
        copy_box(shared.a[stage], map_a, m0, k, full);
      else
#pragma unroll
        for (int i = 0; i < kRows / 64; ++i) copy_box(shared.a[stage] + i * kBox, map_a, k, m0 + 64 * i, full);
      if constexpr (kB == Major::k)
        copy_box(shared.b[stage], map_b, n0, k, full);
      else
#pragma unroll
        for (int i = 0; i < kCols / 64; ++i) copy_box(shared.b[stage] + i * kBox, map_b, k, n0 + 64 * i, full);
      if (++stage == S::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

// A panel: kPanelCols columns of a group's 64 rows, rows of 128 bytes as the copy engine keeps them. The sums are those
// from `first` on of a thread, which has the same columns in row and row + 8 of the panel.
template <class Out>
constexpr int kPanelCols = 128 / sizeof(Out);

template <int kSums>
__device__ void write_panel(bf16* panel, const float (&sum)[kSums], int first) {
  const int lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane % 16;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    uint32_t r[4];
#pragma unroll
    for (int q = 0; q < 4; ++q) r[q] = pack_bf16(sum[first + 8 * j + 2 * q], sum[first + 8 * j + 2 * q + 1]);
    store_matrices(panel + row * 64 + ((2 * j + lane / 16) ^ row % 8) * 8, r);
  }
}
template <int kSums>
__device__ void write_panel(float* panel, const float (&sum)[kSums], int first) {
  const int lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane / 4;
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float* to = panel + (row + 8 * half) * 32 + ((2 * j + lane % 4 / 2) ^ row % 8) * 4 + lane % 2 * 2;
      store_pack(to, Pack<float, 2>{sum[first + 4 * j + 2 * half], sum[first + 4 * j + 2 * half + 1]});
    }
}

// Writes a group's 64 rows of a tile, or adds them to out: through panels, from which the copy engine goes on alone
// while the group multiplies the next tile. next: the panel after those of the tile before.
template <int kCols, class Out>
__device__ void store_panels(bf16 (&panels)[Shape<kCols>::kPanels][kBox], const TensorMap& map_out, const Product& p,
                             int group, int row0, int col0, float (&sum)[kCols / 2], int& next) {
  constexpr int kPanels = Shape<kCols>::kPanels;
  const int thread = threadIdx.x % 128, lane = thread % 32;
#pragma unroll
  for (int i = 0; i < kCols / kPanelCols<Out>; ++i) {
    const int col = col0 + kPanelCols<Out> * i, first = kPanelCols<Out> / 2 * i;
    if (col >= p.n) break;
    add_inputs_to_columns<Out, kPanelCols<Out>>(p, row0 + thread / 32 * 16 + lane / 4, col + lane % 4 * 2, sum, first);
    bf16* panel = panels[next];
    next = next + 1 == kPanels ? 0 : next + 1;
    if (thread == 0) wait_stores<kPanels - 1>();  // what was in this panel has gone
    sync_some(1 + group, 128);
    write_panel(reinterpret_cast<Out*>(panel), sum, first);
    fence_shared_writes();
    sync_some(1 + group, 128);
    if (thread == 0) {
      if (sizeof(Out) == 4 && p.accumulate)
        add_box(map_out, panel, row0, col);
      else
        store_box(map_out, panel, row0, col);
      commit_stores();
    }
  }
}

template <int kCols, Major kA, Major kB, class Out>
__device__ void multiply_and_store(typename Shape<kCols>::Shared& shared, const TensorMap& map_out, const Product& p) {
  using S = Shape<kCols>;
  const int group = threadIdx.x / 128 - 1, thread = threadIdx.x % 128, lane = thread % 32;
  const Tiles tiles(p, kCols);
  int stage = 0, parity = 0, next_panel = 0;
  for (int tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    int m0, n0;
    tiles.place(tile, m0, n0);
    n0 *= kCols;
    const int row0 = m0 + 64 * group;
    float sum[kCols / 2] = {};
    int before = -1;  // the stage whose products may be under way
    for (int k = 0; k < p.k; k += kDepth) {
      wait(shared.full[stage], parity);
      fence_products();
      const bf16* a = shared.a[stage] + group * kBox;
      const bf16* b = shared.b[stage];
#pragma unroll
      for (int i = 0; i < kDepth / 16; ++i)
        wgmma<kCols, kA, kB>(sum, operand<kA>(a + i * (kA == Major::k ? 16 : 16 * 64), sizeof(bf16) * kBox),
                             operand<kB>(b + i * (kB == Major::k ? 16 : 16 * 64), sizeof(bf16) * kBox));
      commit_products();
      wait_products<1>();
      if (before >= 0 && lane == 0) arrive(shared.empty[before]);
      before = stage;
      if (++stage == S::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
    wait_products<0>();
    if (before >= 0 && lane == 0) arrive(shared.empty[before]);

    store_panels<kCols, Out>(shared.panel[group], map_out, p, group, row0, n0, sum, next_panel);
  }
  if (thread == 0) wait_stores<0>();  // shared memory must live as long
}

template <int kCols, Major kA, Major kB, class Out>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_kernel(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
                const __grid_constant__ TensorMap map_out, const __grid_constant__ Product p) {
  auto& shared = shared_memory<typename Shape<kCols>::Shared>();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Shape<kCols>::kStages; ++stage) {
      init_barrier(shared.full[stage], 1);
      init_barrier(shared.empty[stage], 4 * kGroups);  // one arrival of each warp that multiplies
    }
    fence_barrier_inits();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    shrink_registers<40>();
    if (threadIdx.x == 0) copy_operands<kCols, kA, kB>(shared, map_a, map_b, p);
  } else {
    grow_registers<232>();
    multiply_and_store<kCols, kA, kB, Out>(shared, map_out, p);
  }
}

template <int kCols, Major kA, Major kB, class Out>
void enqueue_gemm(const Product& p, cudaStream_t stream) {
  const int64_t tiles = int64_t(ceil_div(p.m, kRows)) * ceil_div(p.n, kCols);
  const TensorMap a = kA == Major::k ? make_tensor_map(p.a, p.m, p.k, kRows) : make_tensor_map(p.a, p.k, p.m, kDepth);
  const TensorMap b = kB == Major::k ? make_tensor_map(p.b, p.n, p.k, kCols) : make_tensor_map(p.b, p.k, p.n, kDepth);
  const TensorMap out = make_tensor_map(static_cast<const Out*>(p.out), p.m, p.n, 64);
  enqueue(gemm_kernel<kCols, kA, kB, Out>,
          {.blocks = unsigned(std::min<int64_t>(tiles, chip().multiprocessors)),
           .threads = kThreads,
           .shared = sizeof(typename Shape<kCols>::Shared),
           .stream = stream},
          a, b, out, p);
}

}  // namespace sm90

template <bool kTransposeA, bool kTransposeB>
void multiply_wgmma(const Product& p, WgmmaTile tile, cudaStream_t stream) {
  constexpr Major kA = kTransposeA ? Major::mn : Major::k, kB = kTransposeB ? Major::k : Major::mn;
  auto with = [&]<class Out>(Out) {
    switch (tile) {
      case WgmmaTile::cols64:
        return sm90::enqueue_gemm<64, kA, kB, Out>(p, stream);
      case WgmmaTile::cols128:
        return sm90::enqueue_gemm<128, kA, kB, Out>(p, stream);
      case WgmmaTile::cols192:
        return sm90::enqueue_gemm<192, kA, kB, Out>(p, stream);
      case WgmmaTile::cols256:
        return sm90::enqueue_gemm<256, kA, kB, Out>(p, stream);
    }
  };
  p.out_is_f32 ? with(float()) : with(bf16());
}

}  // namespace heed::cuda
