#include "native/cpu/pack.h"

#include <atomic>
#include <map>
#include <mutex>
#include <tuple>

#include "native/cpu/memory.h"

namespace heed::cpu {
namespace {

struct Packed {
  const char *begin = nullptr, *end = nullptr;  // the weight
  float* floats = nullptr;
  int64_t bytes = 0;
  bool current = false;  // false: the weight was written since; the memory is kept for the next packing
};
using Key = std::tuple<const void*, DType, int64_t, int64_t, bool>;

}  // namespace

// The lock is for buffers that are destroyed on another thread than the one that computes.
struct PackCache::State {
  std::mutex mutex;
  std::map<Key, Packed> packed;
  const char *begin = nullptr, *end = nullptr;  // the span of all weights in packed: most writes are outside of it
  std::atomic<int64_t> bytes{0};                // read without the lock, which is held while a weight is packed

  bool touches(const char* from, const char* to) const { return from < end && to > begin; }

  Packed& entry(const Tensor& weight, bool transposed, int64_t packed_floats) {
    const auto [place, fresh] = packed.try_emplace({weight.data, weight.dtype, weight.rows, weight.cols, transposed});
    Packed& p = place->second;
    if (!fresh) return p;
    try {
      p.bytes = packed_floats * int64_t(sizeof(float));
      p.floats = static_cast<float*>(allocate_memory(p.bytes));
    } catch (...) {
      packed.erase(place);
      throw;
    }
    p.begin = static_cast<const char*>(weight.data);
    p.end = p.begin + weight.bytes();
    bytes += p.bytes;
    if (begin == nullptr || p.begin < begin) begin = p.begin;
    if (p.end > end) end = p.end;
    return p;
  }
};

PackCache::PackCache() : state_(new State) {}

PackCache::~PackCache() {
  for (auto& [key, p] : state_->packed) free_memory(p.floats, p.bytes);
  delete state_;
}

const float* PackCache::get(const Tensor& weight, bool transposed, int64_t packed_floats,
                            void (*pack)(void* context, float* out), void* context) {
  const std::lock_guard lock(state_->mutex);
  Packed& p = state_->entry(weight, transposed, packed_floats);
  if (!p.current) pack(context, p.floats);
  p.current = true;
  return p.floats;
}

void PackCache::reserve(const Tensor& weight, bool transposed, int64_t packed_floats) {
  const std::lock_guard lock(state_->mutex);
  state_->entry(weight, transposed, packed_floats);
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
  return state_->bytes;
}

}  // namespace heed::cpu
