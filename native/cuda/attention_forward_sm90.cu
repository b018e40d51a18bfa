// attention_forward.cu on Hopper: one warpgroup copies keys and values, two multiply, 64 queries each. The softmax of a
// block of keys runs beside the products of the one before with its values. Every value is made by the same steps in
// the same order, and wgmma adds as mma does: the bits are the same.
#include "native/cuda/attention.h"
#include "native/cuda/attention_tile.h"
#include "native/cuda/elements.h"
#include "native/cuda/launch.h"
#include "native/cuda/sm90.h"

namespace heed::cuda {
namespace {

constexpr int kGroups = 2, kThreads = (1 + kGroups) * 128, kRows = 64, kQueries = kGroups * kRows, kStages = 4;
constexpr int kBox = kKeys * 64;  // elements of a box: 64 keys' rows of 128 bytes

template <int kDim>
struct alignas(1024) Shared {
  bf16 k[kStages][kKeys * kDim], v[kStages][kKeys * kDim];  // boxes of 64 channels
  Tile<kRows, kDim> q[kGroups];                             // and at the end the group's part of out
  Mbarrier full[kStages], empty[kStages];
};

// The blocks of keys of a block's queries, and where they are in the ring.
struct Blocks {
  int first, end;
  __device__ int stage(int block) const { return (block - first) % kStages; }
  __device__ int parity(int block) const { return (block - first) / kStages % 2; }
};

// A block of keys that are neighbours in qkv comes by the copy engine, another row by row.
template <int kDim>
__device__ void copy_keys(Shared<kDim>& shared, const TensorMap& map, const AttentionOf<bf16>& op, const Path& path,
                          int kv_head, const Blocks& blocks) {
  const int key = op.heads.key(kv_head), value = op.heads.value(kv_head), thread = threadIdx.x;
  for (int block = blocks.first; block < blocks.end; ++block) {
    const int stage = blocks.stage(block), begin = block * kKeys;
    bf16 *k = shared.k[stage], *v = shared.v[stage];
    Mbarrier& full = shared.full[stage];
    const int token = path.token(begin);
    const bool neighbours = begin + kKeys <= path.end && path.token(begin + kKeys - 1) == token + kKeys - 1;
    wait(shared.empty[stage], blocks.parity(block) ^ 1);
    if (neighbours) {
      if (thread != 0) {
        arrive(full);
        continue;
      }
      arrive_expecting(full, sizeof shared.k[0] + sizeof shared.v[0]);
#pragma unroll
      for (int i = 0; i < kDim / 64; ++i) {
        copy_box(k + i * kBox, map, token, key + 64 * i, full);
        copy_box(v + i * kBox, map, token, value + 64 * i, full);
      }
      continue;
    }
    constexpr int kStep = 128 / 8;
    const int piece = thread % 8;
#pragma unroll 1
    for (int row = thread / 8; row < kKeys; row += kStep) {
      const bool inside = begin + row < path.end;
      const bf16* from = op.qkv + (inside ? int64_t(path.token(begin + row)) * op.heads.row() : 0) + 8 * piece;
      const int to = row * 64 + (piece ^ row % 8) * 8;
#pragma unroll
      for (int i = 0; i < kDim / 64; ++i) {
        copy_async(k + i * kBox + to, from + key + 64 * i, inside);
        copy_async(v + i * kBox + to, from + value + 64 * i, inside);
      }
    }
    commit_copies();
    wait_copies<0>();
    fence_shared_writes();
    arrive(full);
  }
}

template <int kDim>
__device__ void attend_group(Shared<kDim>& shared, const AttentionOf<bf16>& op, const Path& path, int q0, int head,
                             const Blocks& blocks) {
  const int group = threadIdx.x / 128 - 1, thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
  const int first_row = q0 + kRows * group, warp_row = 16 * warp;
  Tile<kRows, kDim>& q = shared.q[group];
  const bool idle = first_row + kRows <= path.begin || first_row >= path.end;
  const int begin = idle ? blocks.end : max(blocks.first, op.heads.first_seen(first_row) / kKeys),
            end = idle ? blocks.end : min(blocks.end, first_row / kKeys + 1);
  const auto await_keys = [&](int block) { wait(shared.full[blocks.stage(block)], blocks.parity(block)); };
  const auto release_keys = [&](int block) {
    if (lane == 0) arrive(shared.empty[blocks.stage(block)]);
  };
  const auto skip = [&](int from, int to) {
    for (int block = from; block < to; ++block) {
      await_keys(block);
      release_keys(block);
    }
  };
  if (idle) return skip(blocks.first, blocks.end);

  copy_rows<128>(
      q, op.qkv,
      [&](int r) {
        const int position = first_row + r;
        return position >= path.begin && position < path.end
                   ? op.qkv + int64_t(path.token(position)) * op.heads.row() + head * kDim
                   : nullptr;
      },
      thread);
  commit_copies();
  wait_copies<0>();
  sync_some(1 + group, 128);
  uint32_t x[kDim / 16][4];
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) load_fragment<Operand::a, false>(x[d], q, warp_row, 16 * d);

  // A thread's rows are lane / 4 and 8 more of its warp's 16, as in mma's c.
  float out[kDim / 8][4] = {}, s[kKeys / 8][4], keep[2];
  uint32_t p[kKeys / 16][4];
  RowState state[2];
  const float to_log2 = op.heads.scale * kLog2e;
  const auto start_scores = [&](int block) {
    const bf16* k = shared.k[blocks.stage(block)];
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[j][i] = 0;
    fence_products();
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d)
      wgmma<kKeys / 8, Major::k>(s, x[d], operand<Major::k>(k + d / 4 * kBox + d % 4 * 16, sizeof(bf16) * kBox));
    commit_products();
  };
  const auto start_output = [&](int block) {
    const bf16* v = shared.v[blocks.stage(block)];
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j)
      wgmma<kDim / 8, Major::mn>(out, p[j], operand<Major::mn>(v + j * 16 * 64, sizeof(bf16) * kBox));
    commit_products();
  };
  const auto softmax = [&](int block) {
    const int at = block * kKeys;
    const bool hidden = at + kKeys > first_row || at < op.heads.first_seen(first_row + kRows - 1);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      RowState& row = state[half];
      if (hidden) row.hide(s, half, 0, Seen(op.heads, first_row + warp_row + lane / 4 + 8 * half, at));
      keep[half] = row.raise(RowState::largest(s, half), to_log2);
      row.exponentials(s, half, to_log2);
      row.add(keep[half], RowState::part(s, half, 0), RowState::part(s, half, 2), RowState::part(s, half, 4),
              RowState::part(s, half, 6));
    }
  };
  const auto finish_softmax = [&] {
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[d][i] *= keep[i / 2];
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j) as_operand(p[j], s, j);
  };

  skip(blocks.first, begin);
  await_keys(begin);
  start_scores(begin);
  wait_products<0>();
  softmax(begin);
  finish_softmax();
  for (int block = begin; block + 1 < end; ++block) {
    await_keys(block + 1);
    start_scores(block + 1);
    start_output(block);
    wait_products<1>();
    softmax(block + 1);
    wait_products<0>();
    release_keys(block);
    finish_softmax();
  }
  fence_products();
  start_output(end - 1);
  wait_products<0>();
  release_keys(end - 1);
  skip(end, blocks.end);

  // Through shared memory, so that a row of out is written in whole pieces. A warp's rows are its own.
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    RowState& row = state[half];
    row.finish();
    const int r = warp_row + lane / 4 + 8 * half, position = first_row + r;
    const float inverse = 1.0f / row.sum;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d)
      store_pack(reinterpret_cast<uint32_t*>(q.piece(r, d)) + lane % 4,
                 Pack<uint32_t, 1>{pack_bf16(out[d][2 * half] * inverse, out[d][2 * half + 1] * inverse)});
    if (lane % 4 == 0 && position >= path.begin && position < path.end)
      op.lse[int64_t(path.token(position)) * op.heads.heads + head] = row.lse();
  }
  __syncwarp();
  constexpr int kPieces = kDim / 8, kStep = 32 / kPieces;  // rows that a warp writes at once
#pragma unroll
  for (int r = 0; r < 16; r += kStep) {
    const int row = warp_row + r + lane / kPieces, position = first_row + row;
    if (position >= path.begin && position < path.end)
      store_pack(op.out + (int64_t(path.token(position)) * op.heads.heads + head) * kDim + 8 * (lane % kPieces),
                 load_pack<8>(q.piece(row, lane % kPieces)));
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    attention_sm90_kernel(const __grid_constant__ TensorMap map, const __grid_constant__ AttentionOf<bf16> op) {
  const Path path(op.segments, blockIdx.y);
  const int q0 = int(gridDim.x - 1 - blockIdx.x) * kQueries, head = blockIdx.z;  // those with the most keys first
  if (path.begin == path.end || q0 + kQueries <= path.begin || q0 >= path.end) return;
  Shared<kDim>& shared = shared_memory<Shared<kDim>>();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(shared.full[stage], 128);
      init_barrier(shared.empty[stage], 4 * kGroups);  // one arrival of each warp that multiplies
    }
    fence_barrier_inits();
  }
  __syncthreads();
  const Blocks blocks{op.heads.first_seen(max(q0, path.begin)) / kKeys,
                      (min(path.end, q0 + kQueries) + kKeys - 1) / kKeys};
  if (threadIdx.x < 128) {
    shrink_registers<72>();
    copy_keys(shared, map, op, path, op.heads.kv_head(head), blocks);
  } else {
    grow_registers<216>();
    attend_group(shared, op, path, q0, head, blocks);
  }
}

}  // namespace

template <int kDim>
void attend_wgmma(const AttentionOf<bf16>& op, cudaStream_t stream) {
  enqueue(attention_sm90_kernel<kDim>,
          {.blocks = {ceil_div(op.max_path, kQueries), unsigned(op.segments.count), unsigned(op.heads.heads)},
           .threads = kThreads,
           .shared = sizeof(Shared<kDim>),
           .stream = stream},
          make_tensor_map(op.qkv, op.tokens, op.heads.heads * kDim + 2 * op.heads.kv_heads * kDim, kKeys), op);
}
template void attend_wgmma<64>(const AttentionOf<bf16>&, cudaStream_t);
template void attend_wgmma<128>(const AttentionOf<bf16>&, cudaStream_t);

}  // namespace heed::cuda
