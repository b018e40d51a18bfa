// Packed copies of weights, kept until something writes to the weight.
#pragma once

#include <cstdint>

#include "native/core/tensor.h"

namespace heed::cpu {

// Keyed by the weight's address, type, shape and orientation. The backend reports every write to device memory (ops,
// uploads, copies) with written(), and every release with released().
class PackCache {
 public:
  PackCache();
  ~PackCache();
  PackCache(const PackCache&) = delete;
  PackCache& operator=(const PackCache&) = delete;

  // The packed form of a weight, made with pack(context, out) if there is none or the weight has changed since.
  const float* get(const Tensor& weight, bool transposed, int64_t packed_floats,
                   void (*pack)(void* context, float* out), void* context);
  // Allocates the memory for it. Throws Error(OutOfMemory).
  void reserve(const Tensor& weight, bool transposed, int64_t packed_floats);
  void written(const void* begin, int64_t bytes);
  void released(const void* begin, int64_t bytes);
  int64_t bytes() const;  // currently allocated

 private:
  struct State;
  State* state_;
};

}  // namespace heed::cpu
