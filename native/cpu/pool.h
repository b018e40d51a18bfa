// The process's pool of worker threads, shared by all engines.
//
// Its size follows CPU affinity and the cgroup's quota; signals are blocked in its threads. A worker spins briefly
// after its last task, then sleeps; the caller takes part. Tasks are distributed dynamically, so the result of a task
// must not depend on the thread that runs it.
#pragma once

#include <cstdint>

namespace heed::cpu {

// CPUs that this process may use, by affinity and cgroup quota.
int available_cpus();

constexpr int kMaxThreads = 256;

class Pool {
 public:
  // Runs task(context, i) for every i in [0, count) on up to `threads` threads, including the caller; returns when all
  // are done. Calls from several engines run one after the other; a call within a task runs in that task. The first
  // exception of a task is rethrown in the caller.
  static void run(int threads, int64_t count, void (*task)(void* context, int64_t index), void* context);
};

// parallel_for(threads, n, [&](int64_t i) { ... });
template <class F>
static inline void parallel_for(int threads, int64_t count, F&& body) {
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  Pool::run(
      threads, count, [](void* context, int64_t i) { (*static_cast<F*>(context))(i); }, &body);
}

// Index of this thread within a parallel_for, 0 for the caller.
int worker_index();

}  // namespace heed::cpu
