// Working memory of kernels: one block per backend, allocated before an op runs, freed with the backend.
#pragma once

#include <atomic>
#include <cstdint>

namespace heed::cpu {

// Working memory of an op, in floats: one shared part, and one part per thread.
struct Need {
  int64_t shared = 0, own = 0;
};

// Both parts are aligned to 64 bytes. Contains leftovers of earlier ops.
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
