// What the tensor core kernels of attention share: how rows come into tiles, and the step of the softmax over a block
// of 64 keys. Whatever the tile of queries, a query's scores, maxima and sums are made in this one way, so that
// decoding and training give the same bits.
#pragma once

#include "native/cuda/math.h"
#include "native/cuda/segments.h"
#include "native/cuda/tile.h"
#include "native/ops/math.h"

namespace heed::cuda {

constexpr int kKeys = 64;  // of a block, by absolute position

// Rows of a tile, by kThreads threads, in the background: row r from at(r), which is null where there is none; these
// are zero. `any` is an address that can be read.
template <int kThreads, int kRows, int kCols, class At>
__device__ void copy_rows(Tile<kRows, kCols>& tile, const bf16* any, At&& at, unsigned thread = threadIdx.x) {
  constexpr int kPieces = kCols / 8, kStep = kThreads / kPieces;
  static_assert(kRows % kStep == 0);
  const int piece = thread % kPieces;
#pragma unroll
  for (int r = 0; r < kRows; r += kStep) {
    const int row = r + thread / kPieces;
    const bf16* from = at(row);
    copy_async(tile.piece(row, piece), (from != nullptr ? from : any) + 8 * piece, from != nullptr);
  }
}

// A row of the cache, by the threads from `thread` on.
template <int kCols>
__device__ void write_row(bf16* to, const bf16* from, int thread) {
  const int piece = int(threadIdx.x) - thread;
  if (piece >= 0 && piece < kCols / 8) store_pack(to + 8 * piece, load_pack<8>(from + 8 * piece));
}

// s (16 kTiles, 8 kPieces) += a · bᵀ over kDim, by one warp: a's rows from `row` on, b's from `first` on.
template <int kDim, int kTiles, int kPieces, class A, class B>
__device__ void multiply_rows(float (&s)[kTiles][kPieces][4], A& a, int row, B& b, int first) {
#pragma unroll
  for (int d = 0; d < kDim; d += 16) {
    uint32_t x[kTiles][4];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) load_fragment<Operand::a, false>(x[t], a, row + 16 * t, d);
#pragma unroll
    for (int j = 0; j < kPieces / 2; ++j) {
      uint32_t y[4];
      load_fragment<Operand::b, false>(y, b, first + 16 * j, d);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        mma(s[t][2 * j], x[t], y[0], y[1]);
        mma(s[t][2 * j + 1], x[t], y[2], y[3]);
      }
    }
  }
}

// Sums in accumulators as the a of another product: the 16 of its k from piece 2 j on.
template <int kPieces>
__device__ void as_operand(uint32_t (&x)[4], const float (&s)[kPieces][4], int j) {
  x[0] = pack_bf16(s[2 * j][0], s[2 * j][1]);
  x[1] = pack_bf16(s[2 * j][2], s[2 * j][3]);
  x[2] = pack_bf16(s[2 * j + 1][0], s[2 * j + 1][1]);
  x[3] = pack_bf16(s[2 * j + 1][2], s[2 * j + 1][3]);
}

// out (16 kTiles, 8 kOut) += x (16 kTiles, 16) · b, whose rows are from `row` and columns from `col` on.
template <int kTiles, int kOut, class B>
__device__ void add_product(float (&out)[kTiles][kOut][4], const uint32_t (&x)[kTiles][4], B& b, int row, int col = 0) {
#pragma unroll
  for (int d = 0; d < kOut / 2; ++d) {
    uint32_t y[4];
    load_fragment<Operand::b, true>(y, b, col + 16 * d, row);
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      mma(out[t][2 * d], x[t], y[0], y[1]);
      mma(out[t][2 * d + 1], x[t], y[2], y[3]);
    }
  }
}

// A warp's 16 rows of sums, those of c[2] and c[3] by scale[1], through its own rows of a tile to rows at(r), each in
// whole pieces; null: not to be written.
template <int kDim, int kRows, class At>
__device__ void write_rows(const float (&sum)[kDim / 8][4], const float (&scale)[2], Tile<kRows, kDim>& tile,
                           int warp_row, At&& at) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d)
      store_pack(reinterpret_cast<uint32_t*>(tile.piece(warp_row + lane / 4 + 8 * half, d)) + lane % 4,
                 Pack<uint32_t, 1>{pack_bf16(sum[d][2 * half] * scale[half], sum[d][2 * half + 1] * scale[half])});
  __syncwarp();
  constexpr int kPieces = kDim / 8, kStep = 32 / kPieces;  // rows that a warp writes at once
#pragma unroll
  for (int r = 0; r < 16; r += kStep) {
    const int row = warp_row + r + lane / kPieces;
    bf16* to = at(row);
    if (to != nullptr) store_pack(to + 8 * (lane % kPieces), load_pack<8>(tile.piece(row, lane % kPieces)));
  }
}

// The columns of a block of keys that a query sees.
struct Seen {
  int first, last;
  // Of the query at a position, where the block begins.
  __device__ Seen(const Heads& heads, int position, int begin)
      : first(heads.first_seen(position) - begin), last(position - begin) {}
  __device__ bool has(int col) const { return col >= first && col <= last; }
};

// The softmax over a block of keys, for one of the two rows that a thread has a part of in s: scores 2 half and
// 2 half + 1 of each piece.
struct RowState {
  float top = -INFINITY;  // the largest score so far, as a power of two
  float sum = 0;          // of this thread's part

  // Scores of columns that are not seen become -inf. A thread's pieces are columns first + 8 j + 2 (lane % 4) and the
  // next.
  template <int kPieces>
  __device__ static void hide(float (&s)[kPieces][4], int half, int first, Seen seen) {
#pragma unroll
    for (int j = 0; j < kPieces; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (!seen.has(first + 8 * j + int(threadIdx.x % 4) * 2 + i)) s[j][2 * half + i] = -INFINITY;
  }
  // The row's largest score of those in its threads' pieces.
  template <int kPieces>
  __device__ static float largest(const float (&s)[kPieces][4], int half) {
    float most = s[0][2 * half];
#pragma unroll
    for (int j = 0; j < kPieces; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) most = max_or_nan(most, s[j][2 * half + i]);
    most = max_or_nan(most, __shfl_xor_sync(0xffffffffu, most, 1));
    return max_or_nan(most, __shfl_xor_sync(0xffffffffu, most, 2));
  }
  // Takes a block's largest score; returns what the sums so far are to be multiplied by: a NaN if that is no number.
  __device__ float raise(float most, float to_log2) {
    if (most == -INFINITY) return 1.0f;  // the block is outside of the row's window
    const float before = top;
    top = max_or_nan(before, most * to_log2);
    return exp2_in_range(max_or_nan(before - top, -126.0f)) + (top - top);
  }
  // Scores become probabilities relative to top, of -inf exactly 0.
  template <int kPieces>
  __device__ void exponentials(float (&s)[kPieces][4], int half, float to_log2) const {
#pragma unroll
    for (int j = 0; j < kPieces; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& x = s[j][2 * half + i];
        x = exp2_of_number(fmaxf(fmaf(x, to_log2, -top), -127.0f));
      }
  }
  // Sums of a block are made of four parts of two pieces each.
  template <int kPieces>
  __device__ static float part(const float (&s)[kPieces][4], int half, int j) {
    return (s[j][2 * half] + s[j][2 * half + 1]) + (s[j + 1][2 * half] + s[j + 1][2 * half + 1]);
  }
  __device__ void add(float keep, float a, float b, float c, float d) {
    sum = fmaf(sum, keep, (a + b) + (c + d));
  }
  // After the last block.
  __device__ void finish() {
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
  }
  __device__ float lse() const {
    return fmaf(top, kLn2, float(math::log(double(sum))));
  }
};

// Of 16 queries and a block of keys in decoding, the scores of the warp's 16 keys, and the largest for each query.
template <int kDim, class Queries, class Keys>
__device__ void score_keys(float (&s)[1][2][4], Queries& q, Keys& k, const Seen& seen, float (&largest)[16]) {
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * 16;
  multiply_rows<kDim>(s, q, 0, k, first);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    RowState::hide(s[0], half, first, seen);
    const float most = RowState::largest(s[0], half);
    if (lane % 4 == 0) largest[lane / 4 + 8 * half] = most;
  }
}

}  // namespace heed::cuda
