// Keys and values of all earlier tokens of each slot. The backend determines their layout.
#pragma once

#include <string>

#include "native/model/params.h"

namespace heed {

class KvCache {
 public:
  // length: minimum number of positions per slot.
  KvCache(Engine& engine, const ModelConfig& c, int64_t slots, int64_t length)
      : slots_(slots),
        shape_(shape(engine, c, slots, length)),
        buffer_(engine.allocate(c.num_layers * layer_bytes(), Engine::Purpose::kCache)) {}

  Tensor keys(int64_t layer) const { return at(shape_.keys, layer * layer_bytes()); }
  Tensor values(int64_t layer) const { return at(shape_.values, layer * layer_bytes() + padded(shape_.keys)); }
  int64_t slots() const { return slots_; }
  int64_t length() const { return shape_.length; }

 private:
  // Each factor is within its bounds, but the product may exceed 2^63.
  static CacheShape shape(Engine& engine, const ModelConfig& c, int64_t slots, int64_t length) {
    int64_t bytes = 16;  // a key and a value, and half as much again for a backend's padding
    for (const int64_t factor : {c.num_layers, slots, c.num_kv_heads, c.head_dim, length + 256})
      if (__builtin_mul_overflow(bytes, factor, &bytes))
        throw Error(ErrorCode::OutOfMemory, "cannot allocate a cache of " + std::to_string(slots) + " slots with " +
                                                std::to_string(length) +
                                                " positions: it is larger than the address space");
    return engine.backend().cache_shape(engine.dtype(), slots, length, c.num_kv_heads, c.head_dim);
  }
  static int64_t padded(const Tensor& t) { return (t.bytes() + 255) / 256 * 256; }
  int64_t layer_bytes() const { return padded(shape_.keys) + padded(shape_.values); }
  Tensor at(Tensor t, int64_t offset) const {
    t.data = static_cast<char*>(buffer_.data()) + offset;
    return t;
  }

  int64_t slots_;
  CacheShape shape_;
  Buffer buffer_;
};

}  // namespace heed
