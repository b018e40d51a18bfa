#include <algorithm>

#include "native/cuda/launch.h"
#include "native/cuda/step_graphs.h"

namespace heed::cuda {
namespace {

void destroy(cudaGraphExec_t graph) noexcept {
  if (graph != nullptr) cudaGraphExecDestroy(graph);
}

}  // namespace

StepState StepGraphs::begin(const StepKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(steps_.begin(), steps_.end(), [&](const Step& step) { return step.key == key; });
  if (found == steps_.end()) {
    steps_.push_front({key, nullptr});
    if (steps_.size() > kMost) {
      destroy(steps_.back().graph);
      steps_.pop_back();
    }
    return StepState::kRun;
  }
  steps_.splice(steps_.begin(), steps_, found);
  if (found->graph == nullptr) {
    // Other threads may allocate meanwhile.
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a step");
    return StepState::kRecord;
  }
  check(cudaGraphLaunch(found->graph, stream_), "repeating a step");
  return StepState::kDone;
}

void StepGraphs::finish() {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check(cudaStreamEndCapture(stream_, &graph), "recording a step");
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "recording a step");
  const std::lock_guard lock(mutex_);
  steps_.front().graph = executable;
  check(cudaGraphLaunch(executable, stream_), "repeating a step");
}

void StepGraphs::drop() noexcept {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream_, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void StepGraphs::forget(uint64_t owner) noexcept {
  const std::lock_guard lock(mutex_);
  steps_.remove_if([&](const Step& step) {
    if (step.key.owner != owner) return false;
    destroy(step.graph);
    return true;
  });
}

void StepGraphs::clear() noexcept {
  const std::lock_guard lock(mutex_);
  for (const Step& step : steps_) destroy(step.graph);
  steps_.clear();
}

}  // namespace heed::cuda
