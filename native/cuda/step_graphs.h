// Repeated steps as CUDA graphs: what a step enqueues is recorded when it is run for the second time, and from then on
// enqueued by one call. The first time shows that its kernels are loaded, and many a step comes only once.
#pragma once

#include <cuda_runtime.h>

#include <list>
#include <mutex>

#include "native/ops/backend.h"

namespace heed::cuda {

// Steps may be forgotten on other threads than the one that runs them.
class StepGraphs {
 public:
  explicit StepGraphs(cudaStream_t stream) : stream_(stream) {}
  ~StepGraphs() { clear(); }
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  StepState begin(const StepKey& key);
  void finish();
  void drop() noexcept;
  void forget(uint64_t owner) noexcept;
  void clear() noexcept;

 private:
  struct Step {
    StepKey key;
    cudaGraphExec_t graph;  // null: not recorded yet
  };
  static constexpr size_t kMost = 64;

  cudaStream_t stream_;
  std::mutex mutex_;
  std::list<Step> steps_;  // the one used last first, which is the one that is recorded
};

}  // namespace heed::cuda
