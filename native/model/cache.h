// Keys and values of the tokens a set of slots has seen.
#pragma once

#include "native/model/params.h"

namespace heed {

class KvCache {
 public:
  // length: positions a slot holds, rounded up to 16.
  KvCache(Engine& engine, const ModelConfig& c, int64_t slots, int64_t length)
      : slots_(slots),
        length_((length + 15) / 16 * 16),
        kv_heads_(c.num_kv_heads),
        head_dim_(c.head_dim),
        buffer_(engine.allocate(total_bytes(c.num_layers), Engine::Purpose::kCache)) {}

  // (slots · Hk · D, T) and (slots · Hk · T, D)
  Tensor keys(int64_t layer) const { return {at(2 * layer), DType::f32, slots_ * kv_heads_ * head_dim_, length_}; }
  Tensor values(int64_t layer) const {
    return {at(2 * layer + 1), DType::f32, slots_ * kv_heads_ * length_, head_dim_};
  }
  int64_t slots() const { return slots_; }
  int64_t length() const { return length_; }

 private:
  // Every factor is within its own bounds, but their product may pass 2^63.
  int64_t total_bytes(int64_t layers) const {
    int64_t bytes = 8 * layers;  // keys and values, f32
    for (const int64_t factor : {slots_, kv_heads_, head_dim_, length_}) {
      if (__builtin_mul_overflow(bytes, factor, &bytes))
        throw Error(ErrorCode::OutOfMemory, "cannot allocate a cache of " + std::to_string(slots_) + " slots with " +
                                                std::to_string(length_) + " positions: it is too large to address");
    }
    return bytes;
  }
  int64_t layer_bytes() const { return slots_ * kv_heads_ * head_dim_ * length_ * 4; }
  void* at(int64_t part) const { return static_cast<char*>(buffer_.data()) + part * layer_bytes(); }

  int64_t slots_, length_, kv_heads_, head_dim_;
  Buffer buffer_;
};

}  // namespace heed
