// Memory allocation of the CPU backend. Not for kernel sources: these functions have external linkage (see
// level.h).
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include "native/core/error.h"
#include "native/platform/platform.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace heed::cpu {

// From this size memory is mapped with mmap: the system provides zeroed pages when they are touched, and huge pages
// avoid most TLB misses of a training step.
constexpr int64_t kMappedBytes = int64_t{4} << 20;
constexpr int64_t kHugePage = int64_t{2} << 20;

// For tests: called with the bytes of every allocation, which fails if it returns false; and the bytes now allocated.
inline bool (*allow_allocation)(int64_t bytes) = nullptr;
inline std::atomic<int64_t> allocated_bytes{0};

inline int64_t round_up(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Zeroed, aligned to 64 bytes; never null. Free it with free_memory and the same size.
inline void* allocate_memory(int64_t bytes) {
  require(bytes >= 0, "cannot allocate ", bytes, " bytes");
  void* data = nullptr;
  if (allow_allocation != nullptr && !allow_allocation(bytes))
    throw Error(ErrorCode::OutOfMemory, "cannot allocate " + std::to_string(bytes) + " bytes");
#ifdef __linux__
  if (bytes >= kMappedBytes) {
    // One huge page more than requested, for an aligned start.
    const int64_t wanted = round_up(bytes, kHugePage);
    void* mapped =
        mmap(nullptr, size_t(wanted + kHugePage), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped != MAP_FAILED) {
      char* begin = static_cast<char*>(mapped);
      char* aligned = reinterpret_cast<char*>(round_up(int64_t(begin), kHugePage));
      if (aligned != begin) munmap(begin, size_t(aligned - begin));
      const int64_t tail = begin + kHugePage - aligned;
      if (tail != 0) munmap(aligned + wanted, size_t(tail));
      madvise(aligned, size_t(wanted), MADV_HUGEPAGE);  // only a hint: without it everything works, but slower
      data = aligned;
    }
  } else
#endif
  {
    // The exact size, so that a sanitizer detects any access outside.
    const size_t size = size_t(bytes > 0 ? bytes : 1);
    data = platform::allocate(size, 64);
    if (data != nullptr) std::memset(data, 0, size);
  }
  if (data == nullptr) throw Error(ErrorCode::OutOfMemory, "cannot allocate " + std::to_string(bytes) + " bytes");
  allocated_bytes += bytes;
  return data;
}

inline void free_memory(void* data, int64_t bytes) noexcept {
  allocated_bytes -= bytes;
#ifdef __linux__
  if (bytes >= kMappedBytes) {
    munmap(data, size_t(round_up(bytes, kHugePage)));
    return;
  }
#endif
  platform::release(data);
}

}  // namespace heed::cpu
