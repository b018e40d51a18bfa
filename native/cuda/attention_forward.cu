// Causal attention over packed segments with parents (Dao 2023), on tensor cores.
#include "native/cuda/attention.h"
#include "native/cuda/attention_tile.h"
#include "native/cuda/elements.h"
#include "native/cuda/launch.h"

namespace heed::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
// Tiles of 16 queries of a warp: two read each key once for both, of 128 channels they would not fit in registers.
template <int kDim>
constexpr int kTilesOf = kDim == 64 ? 2 : 1;
template <int kDim>
constexpr int kQueriesOf = 16 * kTilesOf<kDim>* kWarps;

template <int kDim>
struct AttentionShared {
  Tile<kQueriesOf<kDim>, kDim> q;  // and at the end the block's part of out
  Tile<kKeys, kDim> k[2], v[2];
};

// One block: the queries of one segment and head whose absolute positions are in [kQueries i, kQueries i + kQueries).
// Its keys come in blocks of 64 absolute positions, from the first: which keys a query adds up, and in which order,
// depends on its position alone.
template <int kDim>
__global__ void __launch_bounds__(kThreads) attention_kernel(const AttentionOf<bf16> op) {
  constexpr int kTiles = kTilesOf<kDim>, kQueries = kQueriesOf<kDim>;
  const Path path(op.segments, blockIdx.y);
  const int q0 = int(gridDim.x - 1 - blockIdx.x) * kQueries, head = blockIdx.z;  // those with the most keys first
  if (path.begin == path.end || q0 + kQueries <= path.begin || q0 >= path.end) return;
  AttentionShared<kDim>& shared = shared_memory<AttentionShared<kDim>>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_size = op.heads.row();
  const bf16* keys = op.qkv + op.heads.key(op.heads.kv_head(head));

  const int end = min(path.end, q0 + kQueries), blocks = (end + kKeys - 1) / kKeys;
  const int first_block = op.heads.first_seen(max(q0, path.begin)) / kKeys;
  const auto start_keys = [&](int block) {
    if (block < blocks) {
      const auto rows = [&](const bf16* from) {
        return [&, from](int r) {
          const int position = block * kKeys + r;
          return position < path.end ? from + int64_t(path.token(position)) * row_size : nullptr;
        };
      };
      copy_rows<kThreads>(shared.k[block % 2], op.qkv, rows(keys));
      copy_rows<kThreads>(shared.v[block % 2], op.qkv, rows(keys + op.heads.kv_heads * kDim));
    }
    commit_copies();
  };
  copy_rows<kThreads>(shared.q, op.qkv, [&](int r) {
    const int position = q0 + r;
    return position >= path.begin && position < path.end
               ? op.qkv + int64_t(path.token(position)) * row_size + head * kDim
               : nullptr;
  });
  start_keys(first_block);

  // A thread's rows of a tile of 16 are lane / 4 and 8 more, as in mma's c.
  const int first_row = q0 + 16 * kTiles * warp;
  float out[kTiles][kDim / 8][4] = {};
  RowState state[kTiles][2];
  const float to_log2 = op.heads.scale * kLog2e;
  const bool idle = first_row + 16 * kTiles <= path.begin || first_row >= path.end;
  const int last_begin = idle ? -1 : first_row;
  for (int block = first_block; block < blocks; ++block) {
    start_keys(block + 1);
    wait_copies<1>();
    __syncthreads();  // this block's keys, and at first the queries, have arrived for all
    const int begin = block * kKeys;
    if (begin <= last_begin && begin + kKeys > op.heads.first_seen(first_row)) {
      const bool hidden = begin + kKeys > first_row || begin < op.heads.first_seen(first_row + 16 * kTiles - 1);
      float s[kTiles][kKeys / 8][4] = {};
      multiply_rows<kDim>(s, shared.q, 16 * kTiles * warp, shared.k[block % 2], 0);
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          RowState& row = state[t][half];
          if (hidden) row.hide(s[t], half, 0, Seen(op.heads, first_row + 16 * t + lane / 4 + 8 * half, begin));
          const float keep = row.raise(RowState::largest(s[t], half), to_log2);
          row.exponentials(s[t], half, to_log2);
          row.add(keep, RowState::part(s[t], half, 0), RowState::part(s[t], half, 2), RowState::part(s[t], half, 4),
                  RowState::part(s[t], half, 6));
#pragma unroll
          for (int d = 0; d < kDim / 8; ++d) {
            out[t][d][2 * half] *= keep;
            out[t][d][2 * half + 1] *= keep;
          }
        }
#pragma unroll
      for (int j = 0; j < kKeys / 16; ++j) {
        uint32_t p[kTiles][4];
#pragma unroll
        for (int t = 0; t < kTiles; ++t) as_operand(p[t], s[t], j);
        add_product(out, p, shared.v[block % 2], 16 * j);
      }
    }
    __syncthreads();  // all are done with this block's keys
  }
  if (idle) return;

    // Through shared memory, so that a row of out is written in whole pieces. A warp's rows are its own.
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      RowState& row = state[t][half];
      row.finish();
      const int r = 16 * t + lane / 4 + 8 * half, position = first_row + r;
      const float inverse = 1.0f / row.sum;
#pragma unroll
      for (int d = 0; d < kDim / 8; ++d)
        store_pack(reinterpret_cast<uint32_t*>(shared.q.piece(16 * kTiles * warp + r, d)) + lane % 4,
                   Pack<uint32_t, 1>{pack_bf16(out[t][d][2 * half] * inverse, out[t][d][2 * half + 1] * inverse)});
      if (lane % 4 == 0 && position >= path.begin && position < path.end)
        op.lse[int64_t(path.token(position)) * op.heads.heads + head] = row.lse();
    }
  __syncwarp();
  constexpr int kPieces = kDim / 8, kStep = 32 / kPieces;  // rows that a warp writes at once
#pragma unroll
  for (int r = 0; r < 16 * kTiles; r += kStep) {
    const int row = r + lane / kPieces, position = first_row + row;
    if (position >= path.begin && position < path.end)
      store_pack(op.out + (int64_t(path.token(position)) * op.heads.heads + head) * kDim + 8 * (lane % kPieces),
                 load_pack<8>(shared.q.piece(16 * kTiles * warp + row, lane % kPieces)));
  }
}

}  // namespace

template <int kDim>
void attend(const AttentionOf<bf16>& op, cudaStream_t stream) {
  enqueue(attention_kernel<kDim>,
          {.blocks = {ceil_div(op.max_path, kQueriesOf<kDim>), unsigned(op.segments.count), unsigned(op.heads.heads)},
           .threads = kThreads,
           .shared = sizeof(AttentionShared<kDim>),
           .stream = stream},
          op);
}
template void attend<64>(const AttentionOf<bf16>&, cudaStream_t);
template void attend<128>(const AttentionOf<bf16>&, cudaStream_t);

}  // namespace heed::cuda
