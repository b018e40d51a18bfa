// Cross-entropy and log-probabilities: a block to a row.
#include "native/cuda/backend.h"
#include "native/cuda/softmax.h"

namespace heed::cuda {
namespace {

template <class T, int kThreads>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(const Logits<T> logits, float* row_loss, const int32_t* targets, const float scale) {
  SoftmaxShared& shared = shared_memory<SoftmaxShared>();
  const Logits<T> row = logits.row(blockIdx.x);
  const int target = targets[blockIdx.x];
  const float target_logit = row.at(target);
  const SoftmaxSums sums = sum_logits<kThreads>(row, kLog2e, shared);  // and every thread has read its logits
  if (threadIdx.x == 0) row_loss[blockIdx.x] = -finish_softmax(sums, 1.0f).logprob(target_logit);

  // d(-log p_t)/dz_v = p_v - [v == t]
  const float per_sum = scale / sums.sum;
  for (int v = kUnit * threadIdx.x; v < row.padded; v += kUnit * kThreads) {
    Floats<kUnit> z = row.load(v);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      z.at[i] = exp2_in_range(power_of(z.at[i], sums.max, kLog2e)) * per_sum;
      if (v + i == target) z.at[i] -= scale;
    }
    row.store(v, z);
  }
}

template <class T, int kThreads>
__global__ void __launch_bounds__(kThreads)
    token_logprobs_kernel(const Logits<T> logits, float* logprobs, float* entropy, const int32_t* targets,
                          const float inverse_temperature) {
  SoftmaxShared& shared = shared_memory<SoftmaxShared>();
  const Logits<T> row = logits.row(blockIdx.x);
  const SoftmaxSums sums = sum_logits<kThreads>(row, kLog2e * inverse_temperature, shared);
  if (threadIdx.x != 0) return;
  const Softmax softmax = finish_softmax(sums, inverse_temperature);
  logprobs[blockIdx.x] = softmax.logprob(row.at(targets[blockIdx.x]));
  if (entropy != nullptr) entropy[blockIdx.x] = softmax.entropy;
}

}  // namespace

void CudaBackend::launch(const op::CrossEntropyLoss& op) {
  with_type(op.logits, [&](auto like) {
    with_logits_threads(op.vocab, [&](auto threads) {
      using T = decltype(like);
      enqueue(
          cross_entropy_kernel<T, threads>,
          {.blocks = unsigned(op.logits.rows), .threads = threads, .shared = sizeof(SoftmaxShared), .stream = stream_},
          logits_of<T>(op.logits, op.vocab), op.row_loss.ptr<float>(), op.targets.ptr<const int32_t>(), op.scale);
    });
  });
}

void CudaBackend::launch(const op::TokenLogprobs& op) {
  with_type(op.logits, [&](auto like) {
    with_logits_threads(op.vocab, [&](auto threads) {
      using T = decltype(like);
      enqueue(
          token_logprobs_kernel<T, threads>,
          {.blocks = unsigned(op.logits.rows), .threads = threads, .shared = sizeof(SoftmaxShared), .stream = stream_},
          logits_of<T>(op.logits, op.vocab), op.logprobs.ptr<float>(),
          op.entropy.rows == 0 ? nullptr : op.entropy.ptr<float>(), op.targets.ptr<const int32_t>(),
          1.0f / op.temperature);
    });
  });
}

}  // namespace heed::cuda
