// attention_backward.cu on Hopper: one warpgroup copies, two multiply, 64 queries or keys each. Every value is made by
// the same steps in the same order, and wgmma adds as mma does: the bits are the same.
#include "native/cuda/attention_backward.h"
#include "native/cuda/attention_sm90.h"
#include "native/cuda/elements.h"
#include "native/cuda/launch.h"

namespace heed::cuda {
namespace {

// ---- dQ

template <int kDim>
struct QueryShared {
  Ring<kDim> ring;                              // keys and values
  Tile<kRows, kDim> q[kGroups], dout[kGroups];  // q: at the end dQ; dout: boxes of 64 channels
};

template <int kDim>
__device__ void add_keys(QueryShared<kDim>& shared, const AttentionBackwardOf<bf16>& op, const Path& path, int q0,
                         int head, const KeyBlocks& all) {
  const int group = threadIdx.x / 128 - 1, thread = threadIdx.x % 128, lane = thread % 32;
  const int first_row = q0 + kRows * group, warp_row = thread / 32 * 16, row = first_row + warp_row + lane / 4;
  Ring<kDim>& ring = shared.ring;
  const KeyBlocks mine = seen_blocks(op.heads, path, all, first_row);
  if (mine.first == mine.end) return ring.skip(0, all.end - all.first);

  Tile<kRows, kDim>&q = shared.q[group], &dout = shared.dout[group];
  const auto token = [&](int r) {
    const int position = first_row + r;
    return position >= path.begin && position < path.end ? path.token(position) : -1;
  };
  copy_rows<128>(
      q, op.qkv,
      [&](int r) {
        const int from = token(r);
        return from < 0 ? nullptr : op.qkv + from * int64_t(op.heads.row()) + head * kDim;
      },
      thread);
  copy_boxes<kDim>(dout.at, op.dout + head * kDim, op.heads.heads * kDim, token, thread);
  commit_copies();
  wait_copies<0>();
  fence_shared_writes();
  sync_some(1 + group, 128);

  uint32_t a[kDim / 16][4];
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) load_fragment<Operand::a, false>(a[d], q, warp_row, 16 * d);

  // A thread's rows are lane / 4 and 8 more of its warp's 16, as in mma's c.
  float dq[kDim / 8][4] = {}, p[kKeys / 8][4], ds[kKeys / 8][4], lse2[2], delta[2];
  uint32_t x[kKeys / 16][4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t at = int64_t(path.token(min(max(row + 8 * half, path.begin), path.end - 1))) * op.heads.heads + head;
    lse2[half] = op.lse[at] * kLog2e;
    delta[half] = op.delta[at];
  }
  const float to_log2 = op.heads.scale * kLog2e;
  ring.skip(0, mine.first - all.first);
  for (int block = mine.first; block < mine.end; ++block) {
    const int n = block - all.first, begin = block * kKeys;
    const bf16 *k = ring.a[n % kStages], *v = ring.b[n % kStages];
    ring.await(n);
    start_product<kDim>(p, a, k);
    start_product<kDim>(ds, dout.at, v);
    wait_products<1>();  // for the scores, and the block before
    if (block > mine.first) ring.release(n - 1);
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) p[j][i] = probability(p[j][i], to_log2, lse2[i / 2]);
    if (begin + kKeys > first_row || begin < op.heads.first_seen(first_row + kRows - 1))
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Seen seen(op.heads, row + 8 * (i / 2), begin);
#pragma unroll
        for (int j = 0; j < kKeys / 8; ++j)
          if (!seen.has(8 * j + lane % 4 * 2 + i % 2)) p[j][i] = 0;
      }
    wait_products<0>();
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) ds[j][i] = p[j][i] * (ds[j][i] - delta[i / 2]);
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j) as_operand(x[j], ds, j);
    fence_products();
    add_products<kDim>(dq, x, k);
  }
  wait_products<0>();
  ring.release(mine.end - 1 - all.first);
  ring.skip(mine.end - all.first, all.end - all.first);

  const float scale[2] = {op.heads.scale, op.heads.scale};
  write_rows<kDim>(dq, scale, q, warp_row, [&](int r) {
    const int from = token(r);
    return from < 0 ? nullptr : op.dqkv + from * int64_t(op.heads.row()) + head * kDim;
  });
}

// One block: 128 queries of a segment by absolute position, and one head.
template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    attention_dq_sm90_kernel(const __grid_constant__ TensorMap map,
                             const __grid_constant__ AttentionBackwardOf<bf16> op) {
  const Path path(op.segments, blockIdx.y);
  // Those with the most keys first, of all segments and heads.
  const int q0 = int(gridDim.z - 1 - blockIdx.z) * kQueries, head = blockIdx.x;
  if (path.begin == path.end || q0 + kQueries <= path.begin || q0 >= path.end) return;
  QueryShared<kDim>& shared = shared_memory<QueryShared<kDim>>();
  if (threadIdx.x == 0) shared.ring.init();
  __syncthreads();
  const KeyBlocks blocks = seen_blocks(op.heads, path, q0);
  if (threadIdx.x < 128) {
    shrink_registers<72>();
    copy_keys(shared.ring, map, op.qkv, op.heads, path, op.heads.kv_head(head), blocks);
  } else {
    grow_registers<216>();
    add_keys(shared, op, path, q0, head, blocks);
  }
}

// ---- dK and dV

template <int kDim>
struct KeyShared {
  Ring<kDim> ring;                           // queries and dout
  Tile<kRows, kDim> k[kGroups], v[kGroups];  // boxes of 64 channels; at the end dK and dV
  float lse2[kStages][kRows], delta[kStages][kRows];
  int apart[kStages];  // from the block's first key to the queries
};
constexpr int kNoMore = -1 << 30;  // apart, behind the last queries

// Which queries of a block see which keys of one; `apart` is from the first key to the first query.
struct Overlap {
  int apart, window;
  __device__ bool none() const { return apart <= -kRows || (window > 0 && apart - (kRows - 1) >= window); }
  __device__ bool whole() const { return apart >= kRows - 1 && (window == 0 || apart + kRows - 1 < window); }
  __device__ bool has(int query, int key) const {
    const int back = apart + query - key;  // from the query to the key
    return back >= 0 && (window == 0 || back < window);
  }
};

template <int kDim>
__device__ void copy_queries(KeyShared<kDim>& shared, const Columns& queries, const Columns& douts,
                             const AttentionBackwardOf<bf16>& op, int kv, QueryBlocks blocks) {
  const int thread = threadIdx.x, group = op.heads.group();
  int n = 0;
  for (; blocks.valid(); blocks.next(), ++n) {
    const int stage = n % kStages, first = blocks.token(), rows = blocks.count(), head = kv * group + blocks.head;
    shared.ring.await_empty(n);
    if (thread == 0) shared.apart[stage] = blocks.distance();
    if (thread >= kRows) {
      const int r = thread - kRows;
      const int64_t at = int64_t(first + min(r, rows - 1)) * op.heads.heads + head;  // beside zeros whatever is there
      shared.lse2[stage][r] = op.lse[at] * kLog2e;
      shared.delta[stage][r] = op.delta[at];
    }
    const auto at_head = [&](const Columns& all) { return Columns{all.map, all.data, all.row, head * kDim}; };
    shared.ring.fill(n, at_head(queries), at_head(douts), rows == kRows ? first : -1,
                     [&](int r) { return r < rows ? first + r : -1; });
  }
  shared.ring.await_empty(n);
  if (thread == 0) shared.apart[n % kStages] = kNoMore;
  arrive(shared.ring.full[n % kStages]);
}

// The 64 keys of a warpgroup, of which the first `count` are there, from a token on.
template <int kDim>
__device__ void add_queries(KeyShared<kDim>& shared, const AttentionBackwardOf<bf16>& op, int token, int count,
                            int kv) {
  const int group = threadIdx.x / 128 - 1, thread = threadIdx.x % 128, lane = thread % 32;
  const int warp_row = thread / 32 * 16, key = warp_row + lane / 4, column = lane % 4 * 2;
  Ring<kDim>& ring = shared.ring;
  Tile<kRows, kDim>&k = shared.k[group], &v = shared.v[group];
  const int64_t row_size = op.heads.row();
  const auto token_of = [&](int r) { return r < count ? token + r : -1; };
  copy_boxes<kDim>(k.at, op.qkv + op.heads.key(kv), row_size, token_of, thread);
  copy_boxes<kDim>(v.at, op.qkv + op.heads.value(kv), row_size, token_of, thread);
  commit_copies();
  wait_copies<0>();
  fence_shared_writes();
  sync_some(1 + group, 128);

  float dk[kDim / 8][4] = {}, dv[kDim / 8][4] = {}, p[kRows / 8][4], ds[kRows / 8][4];
  uint32_t x[kRows / 16][4], y[kRows / 16][4];
  const float to_log2 = op.heads.scale * kLog2e;
  bool first = true;  // no products of the block before are under way
  for (int n = 0;; ++n) {
    const int stage = n % kStages;
    ring.await(n);
    if (shared.apart[stage] == kNoMore) break;
    const Overlap overlap{shared.apart[stage] - kRows * group, op.heads.window};
    if (count <= 0 || overlap.none()) {
      if (!first) {
        wait_products<0>();
        ring.release(n - 1);
        first = true;
      }
      __syncwarp();  // all have read apart
      ring.release(n);
      continue;
    }
    const bf16 *q = ring.a[stage], *dout = ring.b[stage];
    start_product<kDim>(p, k.at, q);
    wait_products<1>();  // for those of the block before, whose registers ds takes
    if (!first) ring.release(n - 1);
    first = false;
    start_product<kDim>(ds, v.at, dout);
    wait_products<1>();  // for the scores
#pragma unroll
    for (int j = 0; j < kRows / 8; ++j) {
      const Pack<float, 2> lse2 = load_pack<2>(shared.lse2[stage] + 8 * j + column);
#pragma unroll
      for (int i = 0; i < 4; ++i) p[j][i] = probability(p[j][i], to_log2, lse2.at[i % 2]);
    }
    if (!overlap.whole())
#pragma unroll
      for (int j = 0; j < kRows / 8; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (!overlap.has(8 * j + column + i % 2, key + 8 * (i / 2))) p[j][i] = 0;
    wait_products<0>();
#pragma unroll
    for (int j = 0; j < kRows / 8; ++j) {
      const Pack<float, 2> delta = load_pack<2>(shared.delta[stage] + 8 * j + column);
#pragma unroll
      for (int i = 0; i < 4; ++i) ds[j][i] = p[j][i] * (ds[j][i] - delta.at[i % 2]);
    }
#pragma unroll
    for (int j = 0; j < kRows / 16; ++j) {
      as_operand(x[j], p, j);
      as_operand(y[j], ds, j);
    }
    fence_products();
    add_products<kDim>(dv, x, dout);
    add_products<kDim>(dk, y, q);
  }
  wait_products<0>();
  if (count <= 0) return;

  sync_some(1 + group, 128);  // all are done with k and v
  const float scale[2] = {op.heads.scale, op.heads.scale}, one[2] = {1, 1};
  const auto gradient = [&](int col) {
    return [&, col](int r) { return r < count ? op.dqkv + (token + r) * row_size + col : nullptr; };
  };
  write_rows<kDim>(dk, scale, k, warp_row, gradient(op.heads.key(kv)));
  write_rows<kDim>(dv, one, v, warp_row, gradient(op.heads.value(kv)));
}

// One block: 128 keys of a segment, and one key/value head.
template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    attention_dkv_sm90_kernel(const __grid_constant__ TensorMap qkv_map, const __grid_constant__ TensorMap dout_map,
                              const __grid_constant__ AttentionBackwardOf<bf16> op) {
  // The first keys, which the most queries see, first.
  const int segment = blockIdx.y, kv = blockIdx.x, k0 = blockIdx.z * kGroups * kRows;
  const int length = op.segments.length(segment);
  if (k0 >= length) return;
  KeyShared<kDim>& shared = shared_memory<KeyShared<kDim>>();
  if (threadIdx.x == 0) shared.ring.init();
  __syncthreads();
  if (threadIdx.x < 128) {
    shrink_registers<40>();
    copy_queries(shared, {qkv_map, op.qkv, op.heads.row(), 0}, {dout_map, op.dout, op.heads.heads * kDim, 0}, op, kv,
                 QueryBlocks(op.segments, segment, k0 / kRows, kGroups * kRows, op.heads));
  } else {
    grow_registers<232>();
    const int first = k0 + (threadIdx.x / 128 - 1) * kRows;
    add_queries(shared, op, op.segments.cu_seqlens[segment] + first, min(kRows, length - first), kv);
  }
}

}  // namespace

template <int kDim>
void attend_backward_wgmma(const AttentionBackwardOf<bf16>& op, cudaStream_t stream) {
  const unsigned tiles = ceil_div(op.max_path, kQueries), segments = unsigned(op.segments.count);
  const TensorMap qkv = make_tensor_map(op.qkv, op.tokens, (op.heads.heads + 2 * op.heads.kv_heads) * kDim, kRows),
                  dout = make_tensor_map(op.dout, op.tokens, op.heads.heads * kDim, kRows);
  enqueue(attention_dq_sm90_kernel<kDim>,
          {.blocks = {unsigned(op.heads.heads), segments, tiles},
           .threads = kThreads,
           .shared = sizeof(QueryShared<kDim>),
           .stream = stream},
          qkv, op);
  enqueue(attention_dkv_sm90_kernel<kDim>,
          {.blocks = {unsigned(op.heads.kv_heads), segments, tiles},
           .threads = kThreads,
           .shared = sizeof(KeyShared<kDim>),
           .stream = stream},
          qkv, dout, op);
}
template void attend_backward_wgmma<64>(const AttentionBackwardOf<bf16>&, cudaStream_t);
template void attend_backward_wgmma<128>(const AttentionBackwardOf<bf16>&, cudaStream_t);

}  // namespace heed::cuda
