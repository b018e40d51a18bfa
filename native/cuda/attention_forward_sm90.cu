// attention_forward.cu on Hopper: one warpgroup copies keys and values, two multiply, 64 queries each. The softmax of a
// block of keys runs beside the products of the one before with its values. Every value is made by the same steps in
// the same order, and wgmma adds as mma does: the bits are the same.
#include "native/cuda/attention_sm90.h"
#include "native/cuda/elements.h"
#include "native/cuda/launch.h"

namespace heed::cuda {
namespace {

template <int kDim>
struct Shared {
  Ring<kDim> ring;               // keys and values
  Tile<kRows, kDim> q[kGroups];  // and at the end the group's part of out
};

template <int kDim>
__device__ void attend_group(Shared<kDim>& shared, const AttentionOf<bf16>& op, const Path& path, int q0, int head,
                             const KeyBlocks& all) {
  const int group = threadIdx.x / 128 - 1, thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
  const int first_row = q0 + kRows * group, warp_row = 16 * warp;
  Tile<kRows, kDim>& q = shared.q[group];
  Ring<kDim>& ring = shared.ring;
  const KeyBlocks mine = seen_blocks(op.heads, path, all, first_row);
  if (mine.first == mine.end) return ring.skip(0, all.end - all.first);

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
  const auto start_scores = [&](int block) { start_product<kDim>(s, x, ring.a[(block - all.first) % kStages]); };
  const auto start_output = [&](int block) { add_products<kDim>(out, p, ring.b[(block - all.first) % kStages]); };
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

  ring.skip(0, mine.first - all.first);
  ring.await(mine.first - all.first);
  start_scores(mine.first);
  wait_products<0>();
  softmax(mine.first);
  finish_softmax();
  for (int block = mine.first; block + 1 < mine.end; ++block) {
    ring.await(block + 1 - all.first);
    start_scores(block + 1);
    start_output(block);
    wait_products<1>();
    softmax(block + 1);
    wait_products<0>();
    ring.release(block - all.first);
    finish_softmax();
  }
  fence_products();
  start_output(mine.end - 1);
  wait_products<0>();
  ring.release(mine.end - 1 - all.first);
  ring.skip(mine.end - all.first, all.end - all.first);

  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    RowState& row = state[half];
    row.finish();
    inverse[half] = 1.0f / row.sum;
    const int position = first_row + warp_row + lane / 4 + 8 * half;
    if (lane % 4 == 0 && position >= path.begin && position < path.end)
      op.lse[int64_t(path.token(position)) * op.heads.heads + head] = row.lse();
  }
  write_rows<kDim>(out, inverse, q, warp_row, [&](int r) {
    const int position = first_row + r;
    return position >= path.begin && position < path.end
               ? op.out + (int64_t(path.token(position)) * op.heads.heads + head) * kDim
               : nullptr;
  });
}

template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    attention_sm90_kernel(const __grid_constant__ TensorMap map, const __grid_constant__ AttentionOf<bf16> op) {
  const Path path(op.segments, blockIdx.y);
  const int q0 = int(gridDim.x - 1 - blockIdx.x) * kQueries, head = blockIdx.z;  // those with the most keys first
  if (path.begin == path.end || q0 + kQueries <= path.begin || q0 >= path.end) return;
  Shared<kDim>& shared = shared_memory<Shared<kDim>>();
  if (threadIdx.x == 0) shared.ring.init();
  __syncthreads();
  const KeyBlocks blocks = seen_blocks(op.heads, path, q0);
  if (threadIdx.x < 128) {
    shrink_registers<72>();
    copy_keys(shared.ring, map, op.qkv, op.heads, path, op.heads.kv_head(head), blocks);
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
