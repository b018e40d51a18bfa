// Replaces another backend to plan memory. It returns addresses without memory behind them and runs nothing, so that an
// engine on it, given the same work, counts the memory that the real one would hold. The other backend determines the
// working memory of the ops, which is reserved there.
#pragma once

#include <memory>

#include "native/ops/backend.h"

namespace heed {

class PlanBackend final : public Backend {
 public:
  explicit PlanBackend(std::unique_ptr<Backend> real) : real_(std::move(real)) {}

  void* allocate(int64_t bytes) override {
    require(bytes >= 0, "cannot allocate ", bytes, " bytes");
    void* const data = reinterpret_cast<void*>(next_);
    next_ += (uintptr_t(bytes) / kPage + 1) * kPage;
    return data;
  }
  void release(void*, int64_t) noexcept override {}
  void upload(const Tensor&, const void*) override {}
  void download(void*, const Tensor&) override {}
  void copy(const Tensor&, const Tensor&) override {}
  void zero(const Tensor&) override {}
  const char* name() const override { return real_->name(); }
  int threads() const override { return real_->threads(); }
  bool measuring() const override { return true; }
  Held held() const override { return real_->held(); }
  CacheShape cache_shape(DType dtype, int64_t slots, int64_t length, int64_t num_kv_heads,
                         int64_t head_dim) const override {
    return real_->cache_shape(dtype, slots, length, num_kv_heads, head_dim);
  }
  int64_t logits_rows(int64_t padded_vocab) const override { return real_->logits_rows(padded_vocab); }
  DType logits_dtype(DType dtype) const override { return real_->logits_dtype(dtype); }
  DeviceMemory memory() const override { return real_->memory(); }
  double peak_flops(DType dtype) const override { return real_->peak_flops(dtype); }

 private:
#define X(Op)                               \
  void launch(const op::Op&) override {}    \
  void prepare(const op::Op& op) override { \
    real_->reserve(op);                     \
  }
  HEED_OPS(X)
#undef X
  static constexpr uintptr_t kPage = 4096;
  uintptr_t next_ = uintptr_t{1} << 44;
  std::unique_ptr<Backend> real_;
};

}  // namespace heed
