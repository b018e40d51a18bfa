// The process's one pool of worker threads, shared by all engines.
//
// Sized by CPU affinity and the cgroup's quota, signals blocked in its threads. A worker spins briefly after its last
// task, then sleeps; the caller takes part. Tasks are handed out dynamically, so what a task computes must not depend
// on who runs it.
#pragma once

#include <cstdint>

namespace heed::cpu {

// CPUs this process may really use: affinity and cgroup quota, not what the host has.
int available_cpus();

constexpr int kMaxThreads = 256;

class Pool {
 public:
  // Runs task(context, i) for every i in [0, count) on up to `threads` threads, the caller among them; returns when all
  // are done. Calls from several engines are served one after another; a call from inside a task runs in that task. The
  // first exception of a task reaches the caller.
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

// Which of the threads of a parallel_for this is: below their number, 0 for the caller's.
int worker_index();

}  // namespace heed::cpu
