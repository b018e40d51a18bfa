// Cross-entropy and log-probabilities.
#include "native/cuda/backend.h"
#include "native/cuda/logits_loss.h"

namespace heed::cuda {
namespace {

struct CrossEntropy {
  float* row_loss;
  const int32_t* targets;
  float scale;

  __device__ int target(int row) const { return targets[row]; }
  __device__ float to_log2() const { return kLog2e; }
  // d(-log p_t)/dz_v = p_v - [v == t]
  __device__ RowGradient finish(int row, const SoftmaxSums& sums, float target_logit) const {
    row_loss[row] = -finish_softmax(sums, 1.0f).logprob(target_logit);
    return {.slope = 0, .offset = scale / sums.sum, .of_target = -scale};
  }
};

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
  const CrossEntropy loss{
      .row_loss = op.row_loss.ptr<float>(), .targets = op.targets.ptr<const int32_t>(), .scale = op.scale};
  with_type(op.logits, [&](auto like) { enqueue_logits_loss<decltype(like)>(op.logits, op.vocab, loss, stream_); });
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
