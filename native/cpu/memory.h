// Where the CPU backend's memory comes from. Not for kernel sources: these functions have external linkage (see
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

// From this size on memory is mapped by itself: the system hands out zeroed pages as they are touched, and huge ones
// spare a training step most of its TLB misses.
constexpr int64_t kMappedBytes = int64_t{4} << 20;
constexpr int64_t kHugePage = int64_t{2} << 20;

// For tests: called with the bytes of every allocation, which fails where it returns false; and what is allocated now.
inline bool (*allow_allocation)(int64_t bytes) = nullptr;
inline std::atomic<int64_t> allocated_bytes{0};

inline int64_t round_up(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Zeroed, aligned to 64 bytes; never null. Give it back with free_memory and the same size.
inline void* allocate_memory(int64_t bytes) {
  require(bytes >= 0, "cannot allocate ", bytes, " bytes");
  void* data = nullptr;
  if (allow_allocation != nullptr && !allow_allocation(bytes))
    throw Error(ErrorCode::OutOfMemory, "cannot allocate " + std::to_string(bytes) + " bytes");
#ifdef __linux__
  if (bytes >= kMappedBytes) {
    // One huge page more than asked for, so that an aligned start can be cut out of it.
    const int64_t wanted = round_up(bytes, kHugePage);
    void* mapped =
        mmap(nullptr, size_t(wanted + kHugePage), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped != MAP_FAILED) {
      char* begin = static_cast<char*>(mapped);
      char* aligned = reinterpret_cast<char*>(round_up(int64_t(begin), kHugePage));
      if (aligned != begin) munmap(begin, size_t(aligned - begin));
      const int64_t tail = begin + kHugePage - aligned;
      if (tail != 0) munmap(aligned + wanted, size_t(tail));
      madvise(aligned, size_t(wanted), MADV_HUGEPAGE);  // a wish: without it everything works, only slower
      data = aligned;
    }
  } else
#endif
  {
    // Just the size: a sanitizer sees any step outside.
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
