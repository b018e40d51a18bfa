// Working memory of kernels: one piece for a backend, made before an op runs, given back with the backend.
#pragma once

#include <atomic>
#include <cstdint>

namespace heed::cpu {

// What an op works in, floats: one part for all threads, and one for each.
struct Need {
  int64_t shared = 0, own = 0;
};

// Both parts are aligned to 64 bytes. Holds what an earlier op left there.
struct Workspace {
  float* shared;
  float* own() const;  // of the calling thread

  float* first_own;
  int64_t own_stride;
};

class Scratch {
 public:
  Scratch() = default;
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  Workspace workspace(Need need, int threads);
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  float* data_ = nullptr;
  std::atomic<int64_t> bytes_{0};  // read by other threads
};

}  // namespace heed::cpu
