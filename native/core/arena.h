// Bump allocation for memory that is used within one job: activations, scratch, KV caches.
#pragma once

#include <algorithm>
#include <cstddef>

#include "native/core/error.h"
#include "native/core/tensor.h"

namespace heed {

// An arena without memory (base == nullptr) returns null tensors and only measures: the code of a pass is run once on a
// measuring arena to find out how large the real one must be.
class Arena {
 public:
  Arena() = default;
  Arena(void* base, int64_t capacity) : base_(static_cast<std::byte*>(base)), capacity_(capacity) {}

  Tensor take(DType dtype, int64_t rows, int64_t cols = 1) {
    Tensor t{nullptr, dtype, rows, cols};
    const int64_t begin = offset_;
    offset_ += (t.bytes() + 255) / 256 * 256;  // 256 bytes: the alignment of cudaMalloc
    peak_ = std::max(peak_, offset_);
    if (base_ != nullptr) {
      if (offset_ > capacity_) throw Error(ErrorCode::Internal, "arena: the measured size was too small");
      t.data = base_ + begin;
    }
    return t;
  }

  int64_t peak() const { return peak_; }

  // Frees what was allocated in the scope: { Arena::Scope scope(arena); ... }
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.offset_) {}
    ~Scope() { arena_.offset_ = mark_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    const int64_t mark_;
  };

 private:
  std::byte* base_ = nullptr;
  int64_t capacity_ = 0, offset_ = 0, peak_ = 0;
};

}  // namespace heed
