// Replaces another backend while a pass is measured. Ops are still checked, so running a model on it with a measuring
// Arena validates all shapes and computes exactly how much memory the real run needs; working memory of the ops is
// reserved in the other backend.
#pragma once

#include "native/ops/backend.h"

namespace heed {

class NullBackend final : public Backend {
 public:
  explicit NullBackend(Backend& real) : real_(real) {}

  void* allocate(int64_t) override { return nullptr; }
  void release(void*, int64_t) noexcept override {}
  void upload(const Tensor&, const void*) override {}
  void download(void*, const Tensor&) override {}
  void copy(const Tensor&, const Tensor&) override {}
  void zero(const Tensor&) override {}
  const char* name() const override { return "null"; }
  int threads() const override { return real_.threads(); }
  bool measuring() const override { return true; }
  Held held() const override { return {}; }
  CacheShape cache_shape(DType dtype, int64_t slots, int64_t length, int64_t num_kv_heads,
                         int64_t head_dim) const override {
    return real_.cache_shape(dtype, slots, length, num_kv_heads, head_dim);
  }
  int64_t logits_rows(int64_t padded_vocab) const override { return real_.logits_rows(padded_vocab); }
  DType logits_dtype(DType dtype) const override { return real_.logits_dtype(dtype); }
  DeviceMemory memory() const override { return real_.memory(); }
  double peak_flops(DType dtype) const override { return real_.peak_flops(dtype); }

 private:
#define X(Op)                              \
  void launch(const op::Op& op) override { \
    real_.reserve(op);                     \
  }
  HEED_OPS(X)
#undef X
  Backend& real_;
};

}  // namespace heed
