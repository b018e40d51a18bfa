// RMSNorm of queries and keys: a warp to a part that is normalized by itself, a head or all of them.
//
// With x̂ = x rstd and g = dout · (offset + weight):
//   dx = rstd (g - x̂ mean(g x̂))     dweight += Σ dout x̂ over rows and parts
#include "native/cuda/backend.h"
#include "native/cuda/columns.h"
#include "native/cuda/reduce.h"

namespace heed::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;

// Of the queries, or of the keys.
struct Parts {
  int first_column, width, count;
  int first_part;  // in rstd
};
struct Heads {
  Parts queries, keys;
  int row, parts, normed;  // columns of qkv, all parts, columns of queries and keys
};

template <class Op>
Heads heads_of(const Op& op) {
  const int64_t dim = op.qkv.cols / (op.num_heads + 2 * op.num_kv_heads), columns = op.num_heads * dim;
  const Parts queries{0, int(op.q_weight.cols), int(columns / op.q_weight.cols), 0};
  const Parts keys{int(columns), int(op.k_weight.cols), int(op.num_kv_heads * dim / op.k_weight.cols), queries.count};
  return {queries, keys, int(op.qkv.cols), queries.count + keys.count, int(columns + op.num_kv_heads * dim)};
}

__device__ float warp_sum(float x) {
  return warp_reduce(x, [](float a, float b) { return a + b; });
}

template <class T>
__device__ float value_of(const T* p) {
  return load_floats<1>(p).at[0];
}

template <class T>
struct QkNorm {
  T* out;
  float* rstd;
  const T *qkv, *q_weight, *k_weight;
  Heads heads;
  float eps, offset;
};

// A row has a warp to each part, and one that copies its values.
template <class T>
__global__ void __launch_bounds__(kThreads) qk_norm_kernel(const QkNorm<T> op, const int64_t warps) {
  const int64_t warp = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (warp >= warps) return;
  const int lane = threadIdx.x % 32, part = int(warp % (op.heads.parts + 1));
  const int64_t n = warp / (op.heads.parts + 1);
  const T* x = op.qkv + n * op.heads.row;
  T* out = op.out + n * op.heads.row;
  if (part == op.heads.parts) {
    for (int c = op.heads.normed + lane; c < op.heads.row; c += 32) store_pack(out + c, load_pack<1>(x + c));
    return;
  }
  const bool of_query = part < op.heads.queries.count;
  const Parts& parts = of_query ? op.heads.queries : op.heads.keys;
  const T* weight = of_query ? op.q_weight : op.k_weight;
  const int at = parts.first_column + (part - parts.first_part) * parts.width;
  float square = 0;
  for (int c = lane; c < parts.width; c += 32) {
    const float v = value_of(x + at + c);
    square = fmaf(v, v, square);
  }
  const float rstd = 1.0f / sqrtf(warp_sum(square) / float(parts.width) + op.eps);
  if (lane == 0) op.rstd[n * op.heads.parts + part] = rstd;
  for (int c = lane; c < parts.width; c += 32)
    store_floats(out + at + c, Floats<1>{value_of(x + at + c) * rstd * (op.offset + value_of(weight + c))});
}

template <class T>
struct QkNormBackward {
  T* dqkv;
  const T *qkv, *q_weight, *k_weight;
  const float* rstd;
  Heads heads;
  int rows;
  float offset;
};

template <class T>
__global__ void __launch_bounds__(kThreads) qk_norm_dx_kernel(const QkNormBackward<T> op) {
  const int64_t warp = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int64_t n = warp / op.heads.parts;
  if (n >= op.rows) return;
  const int lane = threadIdx.x % 32, part = int(warp % op.heads.parts);
  const bool of_query = part < op.heads.queries.count;
  const Parts& parts = of_query ? op.heads.queries : op.heads.keys;
  const T* weight = of_query ? op.q_weight : op.k_weight;
  const int64_t at = n * op.heads.row + parts.first_column + (part - parts.first_part) * parts.width;
  const T* x = op.qkv + at;
  T* d = op.dqkv + at;
  const float rstd = op.rstd[n * op.heads.parts + part];
  float sum = 0;
  for (int c = lane; c < parts.width; c += 32)
    sum = fmaf(value_of(d + c) * (op.offset + value_of(weight + c)), value_of(x + c) * rstd, sum);
  const float mean = warp_sum(sum) / float(parts.width);
  for (int c = lane; c < parts.width; c += 32) {
    const float g = value_of(d + c) * (op.offset + value_of(weight + c));
    store_floats(d + c, Floats<1>{fmaf(value_of(x + c) * rstd, -mean, g) * rstd});
  }
}

// A block's part of the sums of some rows: a thread to a column of the two weights, one after the other.
template <class T>
__global__ void __launch_bounds__(kThreads)
    qk_norm_dweight_kernel(float* partial, const QkNormBackward<T> op, const int share) {
  const int columns = op.heads.queries.width + op.heads.keys.width;
  const int col = blockIdx.y * kThreads + threadIdx.x;
  if (col >= columns) return;
  const bool of_query = col < op.heads.queries.width;
  const Parts& parts = of_query ? op.heads.queries : op.heads.keys;
  const int c = of_query ? col : col - op.heads.queries.width;
  const int end = min(op.rows, int(blockIdx.x + 1) * share);
  float sum = 0;
  for (int n = blockIdx.x * share; n < end; ++n)
    for (int p = 0; p < parts.count; ++p) {
      const int64_t at = int64_t(n) * op.heads.row + parts.first_column + p * parts.width + c;
      const float rstd = op.rstd[int64_t(n) * op.heads.parts + parts.first_part + p];
      sum = fmaf(value_of(op.dqkv + at), value_of(op.qkv + at) * rstd, sum);
    }
  partial[int64_t(blockIdx.x) * columns + col] = sum;
}

}  // namespace

void CudaBackend::launch(const op::QkNorm& op) {
  with_type(op.qkv, [&](auto like) {
    using T = decltype(like);
    const QkNorm<T> f{.out = op.out.ptr<T>(),
                      .rstd = op.rstd.ptr<float>(),
                      .qkv = op.qkv.ptr<T>(),
                      .q_weight = op.q_weight.ptr<T>(),
                      .k_weight = op.k_weight.ptr<T>(),
                      .heads = heads_of(op),
                      .eps = op.eps,
                      .offset = op.offset};
    const int64_t warps = op.qkv.rows * (f.heads.parts + 1);
    enqueue(qk_norm_kernel<T>, {.blocks = ceil_div(warps, kWarps), .threads = kThreads, .stream = stream_}, f, warps);
  });
}

int64_t scratch_bytes(const op::QkNormBackward& op) {
  if (op.dq_weight.rows == 0) return 0;
  return row_blocks(op.qkv.rows) * (op.q_weight.cols + op.k_weight.cols) * int64_t(sizeof(float));
}

void CudaBackend::launch(const op::QkNormBackward& op) {
  if (op.qkv.rows == 0) return;
  const bool frozen = op.dq_weight.rows == 0;
  float* partial = scratch(op);
  const int64_t rows = op.qkv.rows, blocks = row_blocks(rows), columns = op.q_weight.cols + op.k_weight.cols;
  with_type(op.qkv, [&](auto like) {
    using T = decltype(like);
    const QkNormBackward<T> f{.dqkv = op.dqkv.ptr<T>(),
                              .qkv = op.qkv.ptr<T>(),
                              .q_weight = op.q_weight.ptr<T>(),
                              .k_weight = op.k_weight.ptr<T>(),
                              .rstd = op.rstd.ptr<float>(),
                              .heads = heads_of(op),
                              .rows = int(rows),
                              .offset = op.offset};
    if (!frozen)
      enqueue(qk_norm_dweight_kernel<T>,
              {.blocks = {unsigned(blocks), ceil_div(columns, kThreads)}, .threads = kThreads, .stream = stream_},
              partial, f, int(rows_a_block(rows)));
    enqueue(qk_norm_dx_kernel<T>,
            {.blocks = ceil_div(rows * f.heads.parts, kWarps), .threads = kThreads, .stream = stream_}, f);
  });
  if (frozen) return;
  add_partial_sums(stream_, op.dq_weight.ptr<float>(), partial, blocks, columns, op.q_weight.cols);
  add_partial_sums(stream_, op.dk_weight.ptr<float>(), partial + op.q_weight.cols, blocks, columns, op.k_weight.cols);
}

}  // namespace heed::cuda
