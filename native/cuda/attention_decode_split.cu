// attention_decode.cu for few rows over a long cache, by many blocks: first each block of keys' scores, then the
// output, a quarter of a warpgroup's 32 channels a warp. The largest scores of all blocks of keys are known to the
// second kernel before it begins, so that only the chains of sums remain one after the other. Every value is made by
// the same instructions as there.
#include "native/cuda/attention.h"
#include "native/cuda/attention_tile.h"
#include "native/cuda/elements.h"
#include "native/cuda/launch.h"

namespace heed::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kRows = 16;

// The scores of a block of keys: a thread's eight are those of its accumulators in decode_kernel.
struct Scores {
  float of[2][kThreads][4];
};
struct Largest {
  float of[kRows];
};

// Which rows of queries and of the cache a block has.
struct Place {
  int row, kv, first_head, heads, last, first_seen, blocks, first_block;
  int64_t slot_head, at;  // at: of the first block's scores
  const bf16* own;        // the row of qkv
  bool writes;            // of the blocks that have the same key and value, one

  __device__ Place(const DecodeOf<bf16>& op, int row, int part) : row(row) {
    const int parts = (op.heads.group() + kRows - 1) / kRows;
    kv = part / parts;
    first_head = kv * op.heads.group() + part % parts * kRows;
    heads = min(kRows, (kv + 1) * op.heads.group() - first_head);
    last = op.positions[row];
    slot_head = (int64_t(op.slots[row]) * op.heads.kv_heads + kv) * op.length * op.heads.dim;
    own = op.qkv + int64_t(row) * op.heads.row();
    writes = op.writes && part % parts == 0;
    blocks = last / kKeys + 1;
    first_seen = op.heads.first_seen(last);
    first_block = first_seen / kKeys;
    at = (int64_t(row) * op.heads.kv_heads * parts + part) * (op.length / kKeys);
  }
};

template <int kDim>
struct ScoresShared {
  Tile<kRows, kDim> q;
  Tile<kKeys, kDim> k;
  float largest[kWarps][kRows];
};

template <int kDim>
__global__ void __launch_bounds__(kThreads) scores_kernel(const DecodeOf<bf16> op, Scores* scores, Largest* largest) {
  const Place place(op, blockIdx.y, blockIdx.z);
  const int block = blockIdx.x;
  if (block < place.first_block || block >= place.blocks) return;
  ScoresShared<kDim>& shared = shared_memory<ScoresShared<kDim>>();
  const bf16 *queries = place.own + place.first_head * kDim, *own_key = place.own + op.heads.key(place.kv);
  copy_rows<kThreads>(shared.q, op.qkv, [&](int r) { return r < place.heads ? queries + r * kDim : nullptr; });
  copy_rows<kThreads>(shared.k, op.qkv, [&](int r) {
    const int position = block * kKeys + r;
    return position >= place.first_seen && position <= place.last
               ? op.at(position, place.last, own_key, op.keys + place.slot_head)
               : nullptr;
  });
  commit_copies();
  if (place.writes && block == place.blocks - 1)
    write_row<kDim>(op.keys + place.slot_head + int64_t(place.last) * kDim, own_key, 0);
  wait_copies<0>();
  __syncthreads();
  const int warp = threadIdx.x / 32;
  const Seen seen(op.heads, place.last, block * kKeys);
  float sums[1][2][4] = {};
  score_keys<kDim>(sums, shared.q, shared.k, seen, shared.largest[warp]);
  auto& s = sums[0];
#pragma unroll
  for (int j = 0; j < 2; ++j)
    store_pack(scores[place.at + block].of[j][threadIdx.x], Pack<float, 4>{s[j][0], s[j][1], s[j][2], s[j][3]});
  __syncthreads();
  if (threadIdx.x >= kRows) return;
  float most = shared.largest[0][threadIdx.x];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) most = max_or_nan(most, shared.largest[w][threadIdx.x]);
  largest[place.at + block].of[threadIdx.x] = most;
}

// Blocks of keys that are handled together, and channels.
constexpr int kChunk = 4, kStages = 3, kChannels = 8 * kWarps;

struct OutputShared {
  Tile<kRows, kKeys> p[kChunk];
  Tile<kChunk * kKeys, kChannels> v[kStages];
  Scores scores[kStages][kChunk];
  Largest largest[kStages][kChunk];
  float parts[kChunk][kWarps][kRows][4];
};

template <int kDim>
__global__ void __launch_bounds__(kThreads)
    output_kernel(const DecodeOf<bf16> op, const Scores* scores, const Largest* largest) {
  OutputShared& shared = shared_memory<OutputShared>();
  const Place place(op, blockIdx.y, blockIdx.z);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first_channel = blockIdx.x * kChannels;
  const bf16* own_value = place.own + op.heads.value(place.kv) + first_channel;
  bf16* cached = op.values + place.slot_head + first_channel;

  const auto start_chunk = [&](int block) {
    if (block < place.blocks) {
      const int stage = (block - place.first_block) / kChunk % kStages;
      copy_rows<kThreads>(shared.v[stage], op.qkv, [&](int r) {
        const int position = block * kKeys + r;
        return position >= place.first_seen && position <= place.last ? op.at(position, place.last, own_value, cached)
                                                                      : nullptr;
      });
#pragma unroll
      for (int c = 0; c < kChunk; ++c) {
        const int64_t from = place.at + min(block + c, place.blocks - 1);
#pragma unroll
        for (int j = 0; j < 2; ++j)
          copy_async(shared.scores[stage][c].of[j][threadIdx.x], scores[from].of[j][threadIdx.x], true);
        if (threadIdx.x < kRows / 4)
          copy_async(shared.largest[stage][c].of + 4 * threadIdx.x, largest[from].of + 4 * threadIdx.x, true);
      }
    }
    commit_copies();
  };
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) start_chunk(place.first_block + stage * kChunk);
  if (place.writes) write_row<kChannels>(cached + int64_t(place.last) * kDim, own_value, 0);

  float out[4] = {};
  RowState state[2];
  const float to_log2 = op.heads.scale * kLog2e;
  for (int begin = place.first_block; begin < place.blocks; begin += kChunk) {
    const int stage = (begin - place.first_block) / kChunk % kStages;
    wait_copies<kStages - 2>();
    __syncthreads();  // this chunk has arrived for all, and all are done with the last one
    start_chunk(begin + (kStages - 1) * kChunk);
    float keep[kChunk][2] = {};
#pragma unroll
    for (int c = 0; c < kChunk; ++c) {
      if (begin + c >= place.blocks) break;
      float s[2][4];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const Pack<float, 4> pack = load_pack<4>(shared.scores[stage][c].of[j][threadIdx.x]);
#pragma unroll
        for (int i = 0; i < 4; ++i) s[j][i] = pack.at[i];
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = lane / 4 + 8 * half;
        keep[c][half] = state[half].raise(shared.largest[stage][c].of[row], to_log2);
        state[half].exponentials(s, half, to_log2);
        shared.parts[c][warp][row][lane % 4] = RowState::part(s, half, 0);
#pragma unroll
        for (int j = 0; j < 2; ++j)
          store_pack(reinterpret_cast<uint32_t*>(shared.p[c].piece(row, 2 * warp + j)) + lane % 4,
                     Pack<uint32_t, 1>{pack_bf16(s[j][2 * half], s[j][2 * half + 1])});
      }
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kChunk; ++c) {
      if (begin + c >= place.blocks) break;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = lane / 4 + 8 * half;
        const auto& parts = shared.parts[c];
        state[half].add(keep[c][half], parts[0][row][lane % 4], parts[1][row][lane % 4], parts[2][row][lane % 4],
                        parts[3][row][lane % 4]);
        out[2 * half] *= keep[c][half];
        out[2 * half + 1] *= keep[c][half];
      }
#pragma unroll
      for (int k = 0; k < kKeys; k += 32) {
        uint32_t p[2][4], v[4];
        load_matrices_transposed(v, shared.v[stage].piece(c * kKeys + k + lane, warp));
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          load_fragment<Operand::a, false>(p[j], shared.p[c], 0, k + 16 * j);
          mma(out, p[j], v[2 * j], v[2 * j + 1]);
        }
      }
    }
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state[half].finish();
    const int row = lane / 4 + 8 * half;
    const float inverse = 1.0f / state[half].sum;
    if (row >= place.heads) continue;
    bf16* to = op.out + (int64_t(place.row) * op.heads.heads + place.first_head + row) * kDim + first_channel +
               8 * warp + 2 * (lane % 4);
    store_pack(reinterpret_cast<uint32_t*>(to),
               Pack<uint32_t, 1>{pack_bf16(out[2 * half] * inverse, out[2 * half + 1] * inverse)});
  }
}

int64_t places(const DecodeOf<bf16>& op) {
  return int64_t(op.heads.kv_heads) * ceil_div(op.heads.heads / op.heads.kv_heads, kRows);
}

}  // namespace

int64_t split_decode_bytes(const DecodeOf<bf16>& op) {
  return op.rows * places(op) * (op.length / kKeys) * int64_t(sizeof(Scores) + sizeof(Largest));
}

// A block for each head of keys leaves most of the device idle.
bool splits_decode(const DecodeOf<bf16>& op) {
  constexpr int64_t kPlaces = 32, kLength = 512;
  return op.rows * places(op) <= kPlaces && op.length >= kLength && op.length % kKeys == 0;
}

template <int kDim>
void decode_split(const DecodeOf<bf16>& op, void* scratch, cudaStream_t stream) {
  Scores* scores = static_cast<Scores*>(scratch);
  const unsigned blocks = unsigned(op.length / kKeys), parts = unsigned(places(op)), rows = unsigned(op.rows);
  Largest* largest = reinterpret_cast<Largest*>(scores + int64_t(rows) * parts * blocks);
  enqueue(
      scores_kernel<kDim>,
      {.blocks = {blocks, rows, parts}, .threads = kThreads, .shared = sizeof(ScoresShared<kDim>), .stream = stream},
      op, scores, largest);
  enqueue(output_kernel<kDim>,
          {.blocks = {kDim / kChannels, rows, parts},
           .threads = kThreads,
           .shared = sizeof(OutputShared),
           .stream = stream},
          op, static_cast<const Scores*>(scores), static_cast<const Largest*>(largest));
}
template void decode_split<64>(const DecodeOf<bf16>&, void*, cudaStream_t);
template void decode_split<128>(const DecodeOf<bf16>&, void*, cudaStream_t);

}  // namespace heed::cuda
