#include "native/cpu/pack.h"

#include <map>
#include <mutex>
#include <utility>

#include "native/cpu/memory.h"

namespace heed::cpu {
namespace {

struct Packed {
  const char *begin, *end;  // the weight
  float* floats;
  int64_t bytes;
  bool current;  // false: the weight was written since, the memory is kept for the next packing
};

}  // namespace

// The lock is for buffers that die on another thread than the one that computes.
struct PackCache::State {
  std::mutex mutex;
  std::map<std::pair<const void*, bool>, Packed> packed;
  const char *begin = nullptr, *end = nullptr;  // the span of all weights in packed: most writes are outside of it
  int64_t bytes = 0;

  bool touches(const char* from, const char* to) const { return from < end && to > begin; }
};

PackCache::PackCache() : state_(new State) {}

PackCache::~PackCache() {
  for (auto& [key, p] : state_->packed) free_memory(p.floats, p.bytes);
  delete state_;
}

const float* PackCache::get(const void* data, int64_t bytes, bool transposed, int64_t packed_floats,
                            void (*pack)(void* context, float* out), void* context) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  const char* begin = static_cast<const char*>(data);
  const int64_t packed_bytes = packed_floats * int64_t(sizeof(float));
  const auto found = s.packed.find({data, transposed});
  if (found != s.packed.end()) {
    Packed& p = found->second;
    if (p.end == begin + bytes && p.bytes == packed_bytes) {
      if (!p.current) pack(context, p.floats);
      p.current = true;
      return p.floats;
    }
    // The same address with another shape: the memory was given a new meaning.
    free_memory(p.floats, p.bytes);
    s.bytes -= p.bytes;
    s.packed.erase(found);
  }
  float* floats = static_cast<float*>(allocate_memory(packed_bytes));
  Packed& p = s.packed[{data, transposed}] = {begin, begin + bytes, floats, packed_bytes, false};
  s.bytes += packed_bytes;
  if (s.begin == nullptr || begin < s.begin) s.begin = begin;
  if (begin + bytes > s.end) s.end = begin + bytes;
  pack(context, floats);
  p.current = true;
  return floats;
}

void PackCache::written(const void* begin, int64_t bytes) {
  State& s = *state_;
  const char *from = static_cast<const char*>(begin), *to = from + bytes;
  const std::lock_guard lock(s.mutex);
  if (!s.touches(from, to)) return;
  for (auto& [key, p] : s.packed)
    if (from < p.end && to > p.begin) p.current = false;
}

void PackCache::released(const void* begin, int64_t bytes) {
  State& s = *state_;
  const char *from = static_cast<const char*>(begin), *to = from + bytes;
  const std::lock_guard lock(s.mutex);
  if (!s.touches(from, to)) return;
  for (auto it = s.packed.begin(); it != s.packed.end();) {
    Packed& p = it->second;
    if (from < p.end && to > p.begin) {
      free_memory(p.floats, p.bytes);
      s.bytes -= p.bytes;
      it = s.packed.erase(it);
    } else {
      ++it;
    }
  }
}

int64_t PackCache::bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->bytes;
}

}  // namespace heed::cpu
