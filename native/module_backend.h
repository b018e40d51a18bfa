// The addon's side of the door: a backend whose work a module does.
#pragma once

#include <memory>

#include "native/ops/module.h"

namespace heed {

class ModuleBackend final : public Backend {
 public:
  explicit ModuleBackend(Module* module) : module_(module) {}

  void* allocate(int64_t bytes) override {
    void* data = nullptr;
    call([&](Failure& f) { data = module_->allocate(bytes, f); });
    return data;
  }
  void release(void* data, int64_t bytes) noexcept override { module_->release(data, bytes); }
  void upload(const Tensor& dst, const void* host) override {
    call([&](Failure& f) { module_->upload(dst, host, f); });
  }
  void download(void* host, const Tensor& src) override {
    call([&](Failure& f) { module_->download(host, src, f); });
  }
  void copy(const Tensor& dst, const Tensor& src) override {
    call([&](Failure& f) { module_->copy(dst, src, f); });
  }
  void zero(const Tensor& dst) override {
    call([&](Failure& f) { module_->zero(dst, f); });
  }
  StepState begin_step(const StepKey& key) override {
    StepState state = StepState::kRun;
    call([&](Failure& f) { state = module_->begin_step(key, f); });
    return state;
  }
  void finish_step() override {
    call([&](Failure& f) { module_->finish_step(f); });
  }
  void drop_step() noexcept override { module_->drop_step(); }
  void forget_steps(uint64_t owner) noexcept override { module_->forget_steps(owner); }
  const char* name() const override { return module_->name(); }
  Held held() const override { return module_->held(); }
  CacheShape cache_shape(DType dtype, int64_t slots, int64_t length, int64_t num_kv_heads,
                         int64_t head_dim) const override {
    return module_->cache_shape(dtype, slots, length, num_kv_heads, head_dim);
  }
  int64_t logits_rows(int64_t padded_vocab) const override { return module_->logits_rows(padded_vocab); }
  DType logits_dtype(DType dtype) const override { return module_->logits_dtype(dtype); }
  DeviceMemory memory() const override { return module_->memory(); }
  double peak_flops(DType dtype) const override { return module_->peak_flops(dtype); }

 private:
  template <class Work>
  static void call(Work work) {
    Failure failure;
    work(failure);
    if (failure.failed) throw Error(failure.code, failure.message);
  }

#define X(Op)                                           \
  void launch(const op::Op& op) override {              \
    call([&](Failure& f) { module_->run(op, f); });     \
  }                                                     \
  void prepare(const op::Op& op) override {             \
    call([&](Failure& f) { module_->reserve(op, f); }); \
  }
  HEED_OPS(X)
#undef X

  std::unique_ptr<Module> module_;
};

}  // namespace heed
