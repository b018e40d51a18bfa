// The gradients of attention by mma.sync: four warps, 64 queries or keys.
#include "native/cuda/attention_backward.h"
#include "native/cuda/elements.h"
#include "native/cuda/launch.h"

namespace heed::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kRows = kBlock;

template <int kDim>
struct QueryShared {
  Tile<kRows, kDim> q, dout;  // q: at the end dQ
  Tile<kKeys, kDim> k[2], v[2];
};

// One block: 64 queries of a segment, and one head.
template <int kDim>
__global__ void __launch_bounds__(kThreads) attention_dq_kernel(const AttentionBackwardOf<bf16> op) {
  const Path path(op.segments, blockIdx.y);
  const int tile = int(gridDim.x - 1 - blockIdx.x), head = blockIdx.z;  // those with the most keys first
  const int q0 = path.begin + tile * kRows;
  if (q0 >= path.end) return;
  QueryShared<kDim>& shared = shared_memory<QueryShared<kDim>>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, heads = op.heads.heads;
  const int64_t row_size = op.heads.row(), token = op.segments.cu_seqlens[path.segment] + tile * kRows;
  const int count = min(kRows, path.end - q0);
  const bf16* keys = op.qkv + op.heads.key(op.heads.kv_head(head));
  const bf16* values = op.qkv + op.heads.value(op.heads.kv_head(head));

  const int end = q0 + count, blocks = (end + kKeys - 1) / kKeys, first_block = op.heads.first_seen(q0) / kKeys;
  const auto start_keys = [&](int block) {
    if (block < blocks) {
      const auto rows = [&](const bf16* from) {
        return [&, from](int r) {
          const int position = block * kKeys + r;
          return position < end ? from + path.token(position) * row_size : nullptr;
        };
      };
      copy_rows<kThreads>(shared.k[block % 2], op.qkv, rows(keys));
      copy_rows<kThreads>(shared.v[block % 2], op.qkv, rows(values));
    }
    commit_copies();
  };
  copy_rows<kThreads>(shared.q, op.qkv,
                      [&](int r) { return r < count ? op.qkv + (token + r) * row_size + head * kDim : nullptr; });
  copy_rows<kThreads>(shared.dout, op.qkv,
                      [&](int r) { return r < count ? op.dout + ((token + r) * heads + head) * kDim : nullptr; });
  start_keys(first_block);

  float dq[1][kDim / 8][4] = {}, lse2[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = 16 * warp + lane / 4 + 8 * half;
    const int64_t at = (token + (r < count ? r : 0)) * heads + head;
    lse2[half] = op.lse[at] * kLog2e;
    delta[half] = op.delta[at];
  }
  const float to_log2 = op.heads.scale * kLog2e;
  for (int block = first_block; block < blocks; ++block) {
    start_keys(block + 1);
    wait_copies<1>();
    __syncthreads();
    const int first_row = q0 + 16 * warp, begin = block * kKeys;
    if (begin <= first_row + 15 && begin + kKeys > op.heads.first_seen(first_row)) {
      const bool masked = begin + kKeys > first_row || begin < op.heads.first_seen(first_row + 15);
#pragma unroll
      for (int part = 0; part < 2; ++part) {  // 32 keys each
        float s[1][4][4] = {}, dp[1][4][4] = {};
        multiply_rows<kDim>(s, shared.q, 16 * warp, shared.k[block % 2], 32 * part);
        multiply_rows<kDim>(dp, shared.dout, 16 * warp, shared.v[block % 2], 32 * part);
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float p = probability(s[0][j][i], to_log2, lse2[i / 2]);
            const Seen seen(op.heads, first_row + lane / 4 + 8 * (i / 2), begin);
            if (masked && !seen.has(32 * part + 8 * j + lane % 4 * 2 + i % 2)) p = 0;
            s[0][j][i] = p * (dp[0][j][i] - delta[i / 2]);
          }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          uint32_t ds[1][4];
          as_operand(ds[0], s[0], j);
          add_product(dq, ds, shared.k[block % 2], 32 * part + 16 * j);
        }
      }
    }
    __syncthreads();
  }
  const float scale[2] = {op.heads.scale, op.heads.scale};
  write_rows<kDim>(dq[0], scale, shared.q, 16 * warp,
                   [&](int r) { return r < count ? op.dqkv + (token + r) * row_size + head * kDim : nullptr; });
}

template <int kDim>
struct KeyShared {
  Tile<kRows, kDim> k, v;  // at the end dK and dV
  Tile<kRows, kDim> q[2], dout[2];
  float lse2[2][kRows], delta[2][kRows];
};

// One block: 64 keys of a segment, and one key/value head.
template <int kDim>
__global__ void __launch_bounds__(kThreads) attention_dkv_kernel(const AttentionBackwardOf<bf16> op) {
  const int segment = blockIdx.y, tile = blockIdx.x, kv = blockIdx.z;  // the first keys are seen by the most
  const int length = op.segments.length(segment), k0 = tile * kRows;
  if (k0 >= length) return;
  KeyShared<kDim>& shared = shared_memory<KeyShared<kDim>>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, heads = op.heads.heads, group = op.heads.group();
  const int64_t row_size = op.heads.row(), token = op.segments.cu_seqlens[segment] + k0;
  const int count = min(kRows, length - k0);

  const auto start_queries = [&](const QueryBlocks& block, int stage) {
    if (block.valid()) {
      const int64_t first = block.token();
      const int rows = block.count(), head = kv * group + block.head;
      copy_rows<kThreads>(shared.q[stage], op.qkv,
                          [&](int r) { return r < rows ? op.qkv + (first + r) * row_size + head * kDim : nullptr; });
      copy_rows<kThreads>(shared.dout[stage], op.qkv,
                          [&](int r) { return r < rows ? op.dout + ((first + r) * heads + head) * kDim : nullptr; });
      if (threadIdx.x < kRows) {
        const int r = threadIdx.x;
        const int64_t at = (first + (r < rows ? r : 0)) * heads + head;
        shared.lse2[stage][r] = r < rows ? op.lse[at] * kLog2e : 0.0f;
        shared.delta[stage][r] = r < rows ? op.delta[at] : 0.0f;
      }
    }
    commit_copies();
  };
  copy_rows<kThreads>(shared.k, op.qkv,
                      [&](int r) { return r < count ? op.qkv + (token + r) * row_size + op.heads.key(kv) : nullptr; });
  copy_rows<kThreads>(shared.v, op.qkv, [&](int r) {
    return r < count ? op.qkv + (token + r) * row_size + op.heads.value(kv) : nullptr;
  });
  QueryBlocks block(op.segments, segment, tile, kRows, op.heads);
  start_queries(block, 0);

  float dk[1][kDim / 8][4] = {}, dv[1][kDim / 8][4] = {};
  const float to_log2 = op.heads.scale * kLog2e;
  for (int stage = 0; block.valid(); stage ^= 1) {
    const int apart = block.distance(), window = op.heads.window;
    const bool masked = apart < kRows || (window > 0 && apart + kRows > window);
    block.next();
    start_queries(block, stage ^ 1);
    wait_copies<1>();
    __syncthreads();
#pragma unroll 1
    for (int part = 0; part < 2; ++part) {  // 32 queries each
      float p[1][4][4] = {}, ds[1][4][4] = {};
      multiply_rows<kDim>(p, shared.k, 16 * warp, shared.q[stage], 32 * part);
      multiply_rows<kDim>(ds, shared.v, 16 * warp, shared.dout[stage], 32 * part);
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int query = 32 * part + 8 * j + lane % 4 * 2 + i % 2;
          float& x = p[0][j][i];
          x = probability(x, to_log2, shared.lse2[stage][query]);
          const int back = apart + query - (16 * warp + lane / 4 + 8 * (i / 2));  // from the query to the key
          if (masked && (back < 0 || (window > 0 && back >= window))) x = 0;
          ds[0][j][i] = x * (ds[0][j][i] - shared.delta[stage][query]);
        }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        uint32_t x[1][4];
        as_operand(x[0], p[0], j);
        add_product(dv, x, shared.dout[stage], 32 * part + 16 * j);
        as_operand(x[0], ds[0], j);
        add_product(dk, x, shared.q[stage], 32 * part + 16 * j);
      }
    }
    __syncthreads();
  }
  const float scale[2] = {op.heads.scale, op.heads.scale}, one[2] = {1, 1};
  const auto gradient = [&](int col) {
    return [&, col](int r) { return r < count ? op.dqkv + (token + r) * row_size + col : nullptr; };
  };
  write_rows<kDim>(dk[0], scale, shared.k, 16 * warp, gradient(op.heads.key(kv)));
  write_rows<kDim>(dv[0], one, shared.v, 16 * warp, gradient(op.heads.value(kv)));
}

}  // namespace

template <int kDim>
void attend_backward(const AttentionBackwardOf<bf16>& op, cudaStream_t stream) {
  const unsigned tiles = ceil_div(op.max_path, kRows), segments = unsigned(op.segments.count);
  enqueue(attention_dq_kernel<kDim>,
          {.blocks = {tiles, segments, unsigned(op.heads.heads)},
           .threads = kThreads,
           .shared = sizeof(QueryShared<kDim>),
           .stream = stream},
          op);
  enqueue(attention_dkv_kernel<kDim>,
          {.blocks = {tiles, segments, unsigned(op.heads.kv_heads)},
           .threads = kThreads,
           .shared = sizeof(KeyShared<kDim>),
           .stream = stream},
          op);
}
template void attend_backward<64>(const AttentionBackwardOf<bf16>&, cudaStream_t);
template void attend_backward<128>(const AttentionBackwardOf<bf16>&, cudaStream_t);

}  // namespace heed::cuda
