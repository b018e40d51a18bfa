// Attention of one query a slot over the cache, on tensor cores: the rows of a product are the query heads that share a
// key/value head. Each step of attention_forward.cu is made here by the same instructions on the same values, only that
// four warps share a block of keys: each has 16 keys for the scores, and a quarter of the channels for the output.
#include "native/cuda/attention.h"
#include "native/cuda/attention_tile.h"
#include "native/cuda/elements.h"
#include "native/cuda/launch.h"

namespace heed::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kRows = 16, kStages = 3;

template <int kDim>
struct DecodeShared {
  Tile<kRows, kDim> q;
  Tile<kRows, kKeys> p;
  Tile<kKeys, kDim> k[kStages], v[kStages];
  float largest[kWarps][kRows];
  float parts[kWarps][kRows][4];
};

template <int kDim>
__global__ void __launch_bounds__(kThreads) decode_kernel(const DecodeOf<bf16> op) {
  DecodeShared<kDim>& shared = shared_memory<DecodeShared<kDim>>();
  const int b = blockIdx.x, kv = blockIdx.y, first_head = kv * op.heads.group() + blockIdx.z * kRows;
  const int heads = min(kRows, (kv + 1) * op.heads.group() - first_head), last = op.positions[b];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t slot_head = (int64_t(op.slots[b]) * op.heads.kv_heads + kv) * op.length * kDim;
  const bf16* own = op.qkv + int64_t(b) * op.heads.row();
  const bf16* queries = own + first_head * kDim;
  const int blocks = last / kKeys + 1, first_seen = op.heads.first_seen(last), first_block = first_seen / kKeys;

  const auto start_keys = [&](int block) {
    if (block < blocks) {
      const auto rows = [&](const bf16* cached, const bf16* own) {
        return [&, cached, own](int r) {
          const int position = block * kKeys + r;
          return position >= first_seen && position <= last ? op.at(position, last, own, cached) : nullptr;
        };
      };
      copy_rows<kThreads>(shared.k[block % kStages], op.qkv, rows(op.keys + slot_head, own + op.heads.key(kv)));
      copy_rows<kThreads>(shared.v[block % kStages], op.qkv, rows(op.values + slot_head, own + op.heads.value(kv)));
    }
    commit_copies();
  };
  copy_rows<kThreads>(shared.q, op.qkv, [&](int r) { return r < heads ? queries + r * kDim : nullptr; });
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) start_keys(first_block + stage);

  if (op.writes && blockIdx.z == 0) {
    write_row<kDim>(op.keys + slot_head + int64_t(last) * kDim, own + op.heads.key(kv), 0);
    write_row<kDim>(op.values + slot_head + int64_t(last) * kDim, own + op.heads.value(kv), kDim / 8);
  }

  constexpr int kOut = kDim / 8 / kWarps;  // pieces of the output that a warp has
  float out[1][kOut][4] = {};
  RowState state[2];
  const float to_log2 = op.heads.scale * kLog2e;
  for (int block = first_block; block < blocks; ++block) {
    wait_copies<kStages - 2>();
    __syncthreads();  // this block's keys have arrived for all, and all are done with the last block's
    start_keys(block + kStages - 1);
    const Seen seen(op.heads, last, block * kKeys);
    float scores[1][2][4] = {};
    score_keys<kDim>(scores, shared.q, shared.k[block % kStages], seen, shared.largest[warp]);
    auto& s = scores[0];
    __syncthreads();
    float keep[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + 8 * half;
      float most = shared.largest[0][row];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) most = max_or_nan(most, shared.largest[w][row]);
      keep[half] = state[half].raise(most, to_log2);
      state[half].exponentials(s, half, to_log2);
      shared.parts[warp][row][lane % 4] = RowState::part(s, half, 0);
#pragma unroll
      for (int j = 0; j < 2; ++j)
        store_pack(reinterpret_cast<uint32_t*>(shared.p.piece(row, 2 * warp + j)) + lane % 4,
                   Pack<uint32_t, 1>{pack_bf16(s[j][2 * half], s[j][2 * half + 1])});
#pragma unroll
      for (int d = 0; d < kOut; ++d) {
        out[0][d][2 * half] *= keep[half];
        out[0][d][2 * half + 1] *= keep[half];
      }
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + 8 * half;
      state[half].add(keep[half], shared.parts[0][row][lane % 4], shared.parts[1][row][lane % 4],
                      shared.parts[2][row][lane % 4], shared.parts[3][row][lane % 4]);
    }
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j) {
      uint32_t p[1][4];
      load_fragment<Operand::a, false>(p[0], shared.p, 0, 16 * j);
      add_product(out, p, shared.v[block % kStages], 16 * j, 8 * kOut * warp);
    }
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state[half].finish();
    const int row = lane / 4 + 8 * half;
    const float inverse = 1.0f / state[half].sum;
    if (row >= heads) continue;
    bf16* to = op.out + (int64_t(b) * op.heads.heads + first_head + row) * kDim + 8 * kOut * warp + 2 * (lane % 4);
#pragma unroll
    for (int d = 0; d < kOut; ++d)
      store_pack(reinterpret_cast<uint32_t*>(to + 8 * d),
                 Pack<uint32_t, 1>{pack_bf16(out[0][d][2 * half] * inverse, out[0][d][2 * half + 1] * inverse)});
  }
}

}  // namespace

template <int kDim>
void decode(const DecodeOf<bf16>& op, cudaStream_t stream) {
  enqueue(
      decode_kernel<kDim>,
      {.blocks = {unsigned(op.rows), unsigned(op.heads.kv_heads), ceil_div(op.heads.heads / op.heads.kv_heads, kRows)},
       .threads = kThreads,
       .shared = sizeof(DecodeShared<kDim>),
       .stream = stream},
      op);
}
template void decode<64>(const DecodeOf<bf16>&, cudaStream_t);
template void decode<128>(const DecodeOf<bf16>&, cudaStream_t);

}  // namespace heed::cuda
