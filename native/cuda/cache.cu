// A layer's key/value cache: (slots, Hk, T, D) both.
#include "native/cuda/attention.h"
#include "native/cuda/attention_plain.h"
#include "native/cuda/backend.h"

namespace heed::cuda {
namespace {

// Columns are those of all key/value heads.
template <class T>
struct CacheWrite {
  T *keys, *values;
  const T* qkv;
  const int32_t *slots, *positions;
  int heads, kv_heads, dim, length;
  template <int N>
  __device__ void at(int64_t row, int col) const {
    const int64_t slot = slots[row];
    if (slot < 0) return;
    const int head = col / dim, d = col % dim;
    const T* from = qkv + row * (heads + 2 * kv_heads) * dim + (heads + head) * dim + d;
    const int64_t to = ((slot * kv_heads + head) * length + positions[row]) * dim + d;
    store_pack(keys + to, load_pack<N>(from));
    store_pack(values + to, load_pack<N>(from + kv_heads * dim));
  }
};

// A block has some positions of one head, of all copies in their order: one may read what an earlier one wrote.
constexpr int kCopyThreads = 256;
template <int N, class T>
__global__ void __launch_bounds__(kCopyThreads)
    cache_copy_kernel(T* keys, T* values, const int32_t* from, const int32_t* to, const int32_t* lengths,
                      const int count, const int kv_heads, const int dim, const int row_size) {
  const int head = blockIdx.y, at = N * (blockIdx.x * kCopyThreads + threadIdx.x);  // of the head's T · D elements
  if (at >= row_size) return;
  for (int i = 0; i < count; ++i) {
    if (at >= lengths[i] * dim || from[i] == to[i]) continue;
    const int64_t source = (int64_t(from[i]) * kv_heads + head) * row_size + at;
    const int64_t target = (int64_t(to[i]) * kv_heads + head) * row_size + at;
    store_pack(keys + target, load_pack<N>(keys + source));
    store_pack(values + target, load_pack<N>(values + source));
  }
}

constexpr int kWarps = 4, kThreads = 32 * kWarps;

template <class T>
__global__ void __launch_bounds__(kThreads) decode_plain_kernel(const DecodeOf<T> op) {
  float* memory = &shared_memory<float>();
  const Heads& h = op.heads;
  const int64_t i = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int row = int(i / h.heads), head = int(i % h.heads);
  if (row >= op.rows) return;
  const PlainMemory m(memory + threadIdx.x / 32 * (2 * h.dim + 64), h.dim);
  const int last = op.positions[row], kv = h.kv_head(head);
  const int64_t slot_head = (int64_t(op.slots[row]) * h.kv_heads + kv) * op.length * h.dim;
  const T *own = op.qkv + int64_t(row) * h.row(), *own_key = own + h.key(kv), *own_value = own + h.value(kv);
  T *keys = op.keys + slot_head, *values = op.values + slot_head;
  attend_plain(
      m, own + head * h.dim, h, h.first_seen(last), last, [](int position) { return position; },
      [&](int position) { return op.at(position, last, own_key, keys); },
      [&](int position) { return op.at(position, last, own_value, values); },
      op.out + (int64_t(row) * h.heads + head) * h.dim, static_cast<float*>(nullptr));
  if (!op.writes || head % h.group() != 0) return;
  for (int d = threadIdx.x % 32; d < h.dim; d += 32) {
    keys[int64_t(last) * h.dim + d] = own_key[d];
    values[int64_t(last) * h.dim + d] = own_value[d];
  }
}

}  // namespace

template <class T>
void decode_plain(const DecodeOf<T>& op, cudaStream_t stream) {
  enqueue(decode_plain_kernel<T>,
          {.blocks = ceil_div(int64_t(op.rows) * op.heads.heads, kWarps),
           .threads = kThreads,
           .shared = size_t(kWarps * PlainMemory::floats(op.heads.dim)) * sizeof(float),
           .stream = stream},
          op);
}
template void decode_plain(const DecodeOf<float>&, cudaStream_t);
template void decode_plain(const DecodeOf<bf16>&, cudaStream_t);

void CudaBackend::launch(const op::CacheWrite& op) {
  with_type(op.qkv, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    const int dim = int(op.qkv.cols / (op.num_heads + 2 * op.num_kv_heads));
    const CacheWrite<T> f{.keys = op.keys.ptr<T>(),
                          .values = op.values.ptr<T>(),
                          .qkv = op.qkv.ptr<T>(),
                          .slots = op.slots.ptr<int32_t>(),
                          .positions = op.positions.ptr<int32_t>(),
                          .heads = int(op.num_heads),
                          .kv_heads = int(op.num_kv_heads),
                          .dim = dim,
                          .length = int(op.keys.cols / dim)};
    for_rows<N>(stream_, f, op.qkv.rows, op.num_kv_heads * dim, dim % N == 0 && aligned(f.keys, f.values, f.qkv));
  });
}

void CudaBackend::launch(const op::CacheCopy& op) {
  with_type(op.keys, [&](auto like) {
    using T = decltype(like);
    constexpr int N = 16 / sizeof(T);
    T *keys = op.keys.ptr<T>(), *values = op.values.ptr<T>();
    const int64_t row_size = op.keys.cols;
    const bool wide = op.head_dim % N == 0 && aligned(keys, values);
    enqueue(wide ? cache_copy_kernel<N, T> : cache_copy_kernel<1, T>,
            {.blocks = {ceil_div(row_size, (wide ? N : 1) * kCopyThreads), unsigned(op.num_kv_heads)},
             .threads = kCopyThreads,
             .stream = stream_},
            keys, values, op.from.ptr<const int32_t>(), op.to.ptr<const int32_t>(), op.lengths.ptr<const int32_t>(),
            int(op.from.rows), int(op.num_kv_heads), int(op.head_dim), int(row_size));
  });
}

}  // namespace heed::cuda
