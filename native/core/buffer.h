// Owns memory of a backend; move-only; frees it when destroyed.
#pragma once

#include <utility>

#include "native/core/tensor.h"

namespace heed {

// Allocates buffers; implemented by Backend.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual void* allocate(int64_t bytes) = 0;                     // zeroed, 64-byte aligned; throws Error(OutOfMemory)
  virtual void release(void* data, int64_t bytes) noexcept = 0;  // with the result and the size of allocate()
};

class Buffer {
 public:
  Buffer() = default;
  Buffer(Memory& memory, int64_t bytes) : memory_(&memory), data_(memory.allocate(bytes)), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) memory_->release(data_, bytes_);
  }

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  Memory* memory_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace heed
