// The pairwise ranking loss: a warp to a group, whose lanes share out the responses. Sums in double precision.
#include "native/cuda/backend.h"
#include "native/cuda/launch.h"
#include "native/cuda/math.h"
#include "native/cuda/reduce.h"
#include "native/ops/math.h"

namespace heed::cuda {
namespace {

struct Pairwise {
  float *dscores, *group_stats;
  const float* scores;
  const int32_t *ranks, *cu_groups;
  float scale;
};

struct PairSums {
  double loss, pairs, correct;
};

__device__ float log_sigmoid(float x) {
  return math::log_sigmoid(x, exp(-fabsf(x)));
}
__device__ float log_sigmoid_grad(float x) {
  return math::log_sigmoid_grad(x, exp(-fabsf(x)));
}

__global__ void __launch_bounds__(32) pairwise_loss_kernel(const Pairwise op) {
  const int begin = op.cu_groups[blockIdx.x], end = op.cu_groups[blockIdx.x + 1];
  PairSums sums{};
  for (int w = begin + threadIdx.x; w < end; w += 32)
    for (int l = begin; l < end; ++l) {
      if (op.ranks[w] >= op.ranks[l]) continue;
      const float margin = op.scores[w] - op.scores[l];
      sums.pairs += 1;
      sums.loss -= log_sigmoid(margin);
      sums.correct += margin > 0 ? 1.0 : margin == 0 ? 0.5 : 0.0;
    }
  sums = warp_reduce(sums, [](const PairSums& a, const PairSums& b) {
    return PairSums{a.loss + b.loss, a.pairs + b.pairs, a.correct + b.correct};
  });
  const double inverse = sums.pairs > 0 ? 1.0 / sums.pairs : 0.0;
  if (threadIdx.x == 0) {
    float* stats = op.group_stats + blockIdx.x * op::kNumPairwiseStats;
    stats[op::kPairLoss] = float(sums.loss * inverse);
    stats[op::kPairs] = float(sums.pairs);
    stats[op::kPairsCorrect] = float(sums.correct);
  }

  // d(-log σ(s_w - s_l)) = σ(s_l - s_w) (ds_l - ds_w)
  for (int i = begin + threadIdx.x; i < end; i += 32) {
    double gradient = 0;
    for (int j = begin; j < end; ++j) {
      if (op.ranks[i] < op.ranks[j]) gradient -= log_sigmoid_grad(op.scores[i] - op.scores[j]);
      if (op.ranks[j] < op.ranks[i]) gradient += log_sigmoid_grad(op.scores[j] - op.scores[i]);
    }
    op.dscores[i] = float(gradient * inverse * op.scale);
  }
}

}  // namespace

void CudaBackend::launch(const op::PairwiseLoss& op) {
  enqueue(pairwise_loss_kernel, {.blocks = unsigned(op.group_stats.rows), .threads = 32, .stream = stream_},
          Pairwise{.dscores = op.dscores.ptr<float>(),
                   .group_stats = op.group_stats.ptr<float>(),
                   .scores = op.scores.ptr<float>(),
                   .ranks = op.ranks.ptr<int32_t>(),
                   .cu_groups = op.cu_groups.ptr<int32_t>(),
                   .scale = op.scale});
}

}  // namespace heed::cuda
