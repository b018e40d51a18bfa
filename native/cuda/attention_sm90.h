// What attention's kernels on Hopper share: one warpgroup copies, two multiply, 64 rows each, with blocks of 64 rows of
// two matrices that come through a ring of stages.
#pragma once

#include "native/cuda/attention.h"
#include "native/cuda/attention_tile.h"
#include "native/cuda/sm90.h"

namespace heed::cuda {

constexpr int kGroups = 2, kThreads = (1 + kGroups) * 128, kRows = 64, kStages = 4;
constexpr int kBox = kRows * 64;  // elements of a box: 64 rows of 128 bytes

// Where in the rows of a matrix a block's columns begin.
struct Columns {
  const TensorMap& map;
  const bf16* data;
  int64_t row;  // elements
  int col;
};

// 64 rows by 128 threads, in the background, as the copy engine would put them: of token(r), zeros if that is below 0.
template <int kDim, class Token>
__device__ void copy_boxes(bf16* boxes, const bf16* data, int64_t row_size, Token&& token, int thread) {
  const int piece = thread % 8;
#pragma unroll 1
  for (int r = thread / 8; r < kRows; r += 128 / 8) {
    const int from = token(r);
    const bf16* row = data + (from < 0 ? 0 : from * row_size) + 8 * piece;
    bf16* to = boxes + r * 64 + (piece ^ r % 8) * 8;
#pragma unroll
    for (int i = 0; i < kDim / 64; ++i) copy_async(to + i * kBox, row + 64 * i, from >= 0);
  }
}

// The n-th block of rows is in stage n % kStages.
template <int kDim>
struct alignas(1024) Ring {
  bf16 a[kStages][kRows * kDim], b[kStages][kRows * kDim];  // boxes of 64 channels
  Mbarrier full[kStages], empty[kStages];

  // By one thread, before the block's barrier.
  __device__ void init() {
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(full[stage], 128);
      init_barrier(empty[stage], 4 * kGroups);  // one arrival of each warp that multiplies
    }
    fence_barrier_inits();
  }
  // By the warpgroup that copies.
  __device__ void await_empty(int n) { wait(empty[n % kStages], n / kStages % 2 ^ 1); }
  // The rows of tokens from `first` on, or, where that is below 0, of token(r), zeros if that is below 0 too.
  template <class Token>
  __device__ void fill(int n, const Columns& from_a, const Columns& from_b, int first, Token&& token) {
    const int stage = n % kStages, thread = threadIdx.x;
    if (first < 0) {
      copy_boxes<kDim>(a[stage], from_a.data + from_a.col, from_a.row, token, thread);
      copy_boxes<kDim>(b[stage], from_b.data + from_b.col, from_b.row, token, thread);
      commit_copies();
      wait_copies<0>();
      fence_shared_writes();
    } else if (thread == 0) {
      arrive_expecting(full[stage], sizeof a[0] + sizeof b[0]);
#pragma unroll
      for (int i = 0; i < kDim / 64; ++i) {
        copy_box(a[stage] + i * kBox, from_a.map, first, from_a.col + 64 * i, full[stage]);
        copy_box(b[stage] + i * kBox, from_b.map, first, from_b.col + 64 * i, full[stage]);
      }
      return;
    }
    arrive(full[stage]);
  }
  // By those that multiply.
  __device__ void await(int n) {
    wait(full[n % kStages], n / kStages % 2);
  }
  __device__ void release(int n) {
    if (threadIdx.x % 32 == 0) arrive(empty[n % kStages]);
  }
  __device__ void skip(int from, int to) {
    for (int n = from; n < to; ++n) {
      await(n);
      release(n);
    }
  }
};

// c (64, 64) = a · bᵀ over kDim, rows of both in boxes, in the background.
template <int kDim>
__device__ void start_product(float (&c)[8][4], const bf16* a, const bf16* b) {
  fence_products();
  wgmma<8, Major::k, Major::k, false>(c, operand<Major::k>(a, 0), operand<Major::k>(b, 0));
#pragma unroll
  for (int d = 1; d < kDim / 16; ++d) {
    const int at = d / 4 * kBox + d % 4 * 16;
    wgmma<8, Major::k, Major::k, true>(c, operand<Major::k>(a + at, 0), operand<Major::k>(b + at, 0));
  }
  commit_products();
}

// The same, a in registers.
template <int kDim>
__device__ void start_product(float (&c)[8][4], const uint32_t (&a)[kDim / 16][4], const bf16* b) {
  fence_products();
  wgmma<8, Major::k, false>(c, a[0], operand<Major::k>(b, 0));
#pragma unroll
  for (int d = 1; d < kDim / 16; ++d) wgmma<8, Major::k>(c, a[d], operand<Major::k>(b + d / 4 * kBox + d % 4 * 16, 0));
  commit_products();
}

// c (64, kDim) += x (64, 64) · b, whose rows are in boxes, in the background.
template <int kDim>
__device__ void add_products(float (&c)[kDim / 8][4], const uint32_t (&x)[4][4], const bf16* b) {
#pragma unroll
  for (int j = 0; j < 4; ++j)
    wgmma<kDim / 8, Major::mn>(c, x[j], operand<Major::mn>(b + j * 16 * 64, sizeof(bf16) * kBox));
  commit_products();
}

// ---- from queries to keys: a block's queries of a segment, and what they see

constexpr int kQueries = kGroups * kRows;

// Blocks of keys by absolute position, the first of a block's in stage 0.
struct KeyBlocks {
  int first, end;
};
__device__ inline KeyBlocks seen_blocks(const Heads& heads, const Path& path, int q0) {
  return {heads.first_seen(max(q0, path.begin)) / kKeys, (min(path.end, q0 + kQueries) + kKeys - 1) / kKeys};
}
// Those that the rows of one warpgroup see; none if it has none.
__device__ inline KeyBlocks seen_blocks(const Heads& heads, const Path& path, const KeyBlocks& all, int first_row) {
  if (first_row + kRows <= path.begin || first_row >= path.end) return {all.end, all.end};
  return {max(all.first, heads.first_seen(first_row) / kKeys), min(all.end, first_row / kKeys + 1)};
}

// Keys and values: those that are neighbours in qkv by the copy engine, others row by row.
template <int kDim>
__device__ void copy_keys(Ring<kDim>& ring, const TensorMap& map, const bf16* qkv, const Heads& heads, const Path& path,
                          int kv_head, const KeyBlocks& blocks) {
  const Columns keys{map, qkv, heads.row(), heads.key(kv_head)}, values{map, qkv, heads.row(), heads.value(kv_head)};
  for (int block = blocks.first; block < blocks.end; ++block) {
    const int begin = block * kKeys, token = path.token(begin);
    const bool neighbours = begin + kKeys <= path.end && path.token(begin + kKeys - 1) == token + kKeys - 1;
    ring.await_empty(block - blocks.first);
    ring.fill(block - blocks.first, keys, values, neighbours ? token : -1,
              [&](int r) { return begin + r < path.end ? path.token(begin + r) : -1; });
  }
}

}  // namespace heed::cuda
