#include "native/cuda/attention.h"
#include "native/cuda/attention_plain.h"

namespace heed::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;

// The segment that a token is in.
__device__ int segment_of(const Segments& segments, int token) {
  int low = 0, high = segments.count - 1;  // the first segment that ends after it
  while (low < high) {
    const int middle = (low + high) / 2;
    if (segments.cu_seqlens[middle + 1] > token)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// A warp's token and head, of all: false if there are none left.
__device__ bool take_row(int tokens, int heads, int& token, int& head) {
  const int64_t i = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  token = int(i / heads);
  head = int(i % heads);
  return token < tokens;
}

template <class T>
__global__ void __launch_bounds__(kThreads, 8) attention_plain_kernel(const AttentionOf<T> op) {
  float* memory = &shared_memory<float>();
  int token, head;
  if (!take_row(op.tokens, op.heads.heads, token, head)) return;
  const Heads& h = op.heads;
  const PlainMemory m(memory + threadIdx.x / 32 * (2 * h.dim + 64), h.dim);
  const Path path(op.segments, segment_of(op.segments, token));
  const T *keys = op.qkv + h.key(h.kv_head(head)), *values = op.qkv + h.value(h.kv_head(head));
  const int64_t row = h.row();
  const int position = path.begin + token - op.segments.cu_seqlens[path.segment];
  attend_plain(
      m, op.qkv + token * row + head * h.dim, h, h.first_seen(position), position,
      [&](int at) { return path.token(at); }, [&](int at) { return keys + at * row; },
      [&](int at) { return values + at * row; }, op.out + (int64_t(token) * h.heads + head) * h.dim,
      op.lse + int64_t(token) * h.heads + head);
}

// Of a key, by its product with the query. slope: d score / d product.
struct Probability {
  float value, slope;
  __device__ Probability(float product, const Heads& h, float lse) : slope(h.scale) {
    if (h.softcap == 0) {
      value = exp(fmaf(product, h.scale, -lse));
    } else {
      const float t = tanh(product * h.scale / h.softcap);
      value = exp(h.softcap * t - lse);
      slope *= 1.0f - t * t;
    }
  }
};

// dQ: as the forward pass, a warp to a query, a lane to a key.
template <class T>
__global__ void __launch_bounds__(kThreads, 8) attention_plain_dq_kernel(const AttentionBackwardOf<T> op) {
  float* memory = &shared_memory<float>();
  int token, head;
  if (!take_row(op.tokens, op.heads.heads, token, head)) return;
  const Heads& h = op.heads;
  const int lane = threadIdx.x % 32, kv = h.kv_head(head);
  const int64_t row = h.row(), at = int64_t(token) * h.heads + head;
  float* query = memory + threadIdx.x / 32 * (3 * h.dim + 64);
  float *dout = query + h.dim, *sums = dout + h.dim, *weights = sums + h.dim;
  int* rows = reinterpret_cast<int*>(weights + 32);
#pragma unroll 1
  for (int d = lane; d < h.dim; d += 32) {
    query[d] = value_of(op.qkv + token * row + head * h.dim + d);
    dout[d] = value_of(op.dout + at * h.dim + d);
    sums[d] = 0;
  }
  __syncwarp();
  const Path path(op.segments, segment_of(op.segments, token));
  const int last = path.begin + token - op.segments.cu_seqlens[path.segment];
  const float lse = op.lse[at], delta = op.delta[at];
  for (int begin = h.first_seen(last); begin <= last; begin += 32) {
    float ds = 0;
    if (begin + lane <= last) {
      rows[lane] = path.token(begin + lane);
      const T* key = op.qkv + rows[lane] * row;
      const Probability p(dot_row(query, key + h.key(kv), h.dim), h, lse);
      ds = p.value * (dot_row(dout, key + h.value(kv), h.dim) - delta) * p.slope;
    }
    weights[lane] = ds;
    __syncwarp();
    const int count = min(32, last + 1 - begin);
#pragma unroll 1
    for (int d = lane; d < h.dim; d += 32)
#pragma unroll 4
      for (int j = 0; j < count; ++j)
        sums[d] = fmaf(weights[j], value_of(op.qkv + rows[j] * row + h.key(kv) + d), sums[d]);
    __syncwarp();
  }
#pragma unroll 1
  for (int d = lane; d < h.dim; d += 32) store_floats(op.dqkv + token * row + head * h.dim + d, Floats<1>{sums[d]});
}

// dK and dV: a warp to a key and key/value head, a lane to a query that sees it, in the order of segments.
template <class T>
__global__ void __launch_bounds__(kThreads, 8) attention_plain_dkv_kernel(const AttentionBackwardOf<T> op) {
  float* memory = &shared_memory<float>();
  int token, kv;
  if (!take_row(op.tokens, op.heads.kv_heads, token, kv)) return;
  const Heads& h = op.heads;
  const int lane = threadIdx.x % 32;
  const int64_t row = h.row();
  float* key = memory + threadIdx.x / 32 * (4 * h.dim + 64);
  float *value = key + h.dim, *dkey = value + h.dim, *dvalue = dkey + h.dim;
  float *probs = dvalue + h.dim, *dscores = probs + 32;
#pragma unroll 1
  for (int d = lane; d < h.dim; d += 32) {
    key[d] = value_of(op.qkv + token * row + h.key(kv) + d);
    value[d] = value_of(op.qkv + token * row + h.value(kv) + d);
    dkey[d] = dvalue[d] = 0;
  }
  __syncwarp();
  const int segment = segment_of(op.segments, token);
  for (int s = segment; s < op.segments.count; ++s) {
    if (!descends(op.segments, s, segment)) continue;
    const int first = s == segment ? token : op.segments.cu_seqlens[s];
    int end = op.segments.cu_seqlens[s + 1];
    if (h.window > 0) {
      const int between = distance(op.segments, s, segment) + first - token -
                          (op.segments.cu_seqlens[s] - op.segments.cu_seqlens[segment]);  // from the key to the first
      end = min(end, first + h.window - between);
    }
    for (int head = kv * h.group(); head < (kv + 1) * h.group(); ++head)
      for (int begin = first; begin < end; begin += 32) {
        float p = 0, ds = 0;
        if (begin + lane < end) {
          const int64_t at = int64_t(begin + lane) * h.heads + head;
          const Probability seen(dot_row(key, op.qkv + (begin + lane) * row + head * h.dim, h.dim), h, op.lse[at]);
          p = seen.value;
          ds = p * (dot_row(value, op.dout + at * h.dim, h.dim) - op.delta[at]) * seen.slope;
        }
        probs[lane] = p;
        dscores[lane] = ds;
        __syncwarp();
        const int count = min(32, end - begin);
#pragma unroll 1
        for (int d = lane; d < h.dim; d += 32)
#pragma unroll 4
          for (int j = 0; j < count; ++j) {
            const int64_t at = int64_t(begin + j) * h.heads + head;
            dvalue[d] = fmaf(probs[j], value_of(op.dout + at * h.dim + d), dvalue[d]);
            dkey[d] = fmaf(dscores[j], value_of(op.qkv + (begin + j) * row + head * h.dim + d), dkey[d]);
          }
        __syncwarp();
      }
  }
#pragma unroll 1
  for (int d = lane; d < h.dim; d += 32) {
    store_floats(op.dqkv + token * row + h.key(kv) + d, Floats<1>{dkey[d]});
    store_floats(op.dqkv + token * row + h.value(kv) + d, Floats<1>{dvalue[d]});
  }
}

template <class Op>
void enqueue_rows(void (*kernel)(Op), const Op& op, int heads, int floats, cudaStream_t stream) {
  enqueue(kernel,
          {.blocks = ceil_div(int64_t(op.tokens) * heads, kWarps),
           .threads = kThreads,
           .shared = size_t(kWarps * floats) * sizeof(float),
           .stream = stream},
          op);
}

}  // namespace

template <class T>
void attend_plain(const AttentionOf<T>& op, cudaStream_t stream) {
  enqueue_rows(attention_plain_kernel<T>, op, op.heads.heads, PlainMemory::floats(op.heads.dim), stream);
}
template void attend_plain(const AttentionOf<float>&, cudaStream_t);
template void attend_plain(const AttentionOf<bf16>&, cudaStream_t);

template <class T>
void attend_backward_plain(const AttentionBackwardOf<T>& op, cudaStream_t stream) {
  enqueue_rows(attention_plain_dq_kernel<T>, op, op.heads.heads, 3 * op.heads.dim + 64, stream);
  enqueue_rows(attention_plain_dkv_kernel<T>, op, op.heads.kv_heads, 4 * op.heads.dim + 64, stream);
}
template void attend_backward_plain(const AttentionBackwardOf<float>&, cudaStream_t);
template void attend_backward_plain(const AttentionBackwardOf<bf16>&, cudaStream_t);

}  // namespace heed::cuda
