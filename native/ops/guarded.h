// The module's side of the door: a backend whose exceptions become values.
#pragma once

#include <new>

#include "native/ops/module.h"

namespace heed {

template <class Result, class Work>
Result guarded(Failure& failure, Result otherwise, Work work) noexcept {
  try {
    return work();
  } catch (const Error& error) {
    failure.set(error.code, error.what());
  } catch (const std::bad_alloc&) {
    failure.set(ErrorCode::OutOfMemory, "the host has not enough memory");
  } catch (const std::exception& error) {
    failure.set(ErrorCode::Internal, error.what());
  }
  return otherwise;
}

template <class B>
class Guarded final : public Module {
 public:
  void* allocate(int64_t bytes, Failure& f) noexcept override {
    return guarded(f, static_cast<void*>(nullptr), [&] { return backend_.allocate(bytes); });
  }
  void release(void* data, int64_t bytes) noexcept override { backend_.release(data, bytes); }
  void upload(const Tensor& dst, const void* host, Failure& f) noexcept override {
    done(f, [&] { backend_.upload(dst, host); });
  }
  void download(void* host, const Tensor& src, Failure& f) noexcept override {
    done(f, [&] { backend_.download(host, src); });
  }
  void copy(const Tensor& dst, const Tensor& src, Failure& f) noexcept override {
    done(f, [&] { backend_.copy(dst, src); });
  }
  void zero(const Tensor& dst, Failure& f) noexcept override {
    done(f, [&] { backend_.zero(dst); });
  }
  StepState begin_step(const StepKey& key, Failure& f) noexcept override {
    return guarded(f, StepState::kRun, [&] { return backend_.begin_step(key); });
  }
  void finish_step(Failure& f) noexcept override {
    done(f, [&] { backend_.finish_step(); });
  }
  void drop_step() noexcept override { backend_.drop_step(); }
  void forget_steps(uint64_t owner) noexcept override { backend_.forget_steps(owner); }
  const char* name() const noexcept override { return backend_.name(); }
  Held held() const noexcept override { return backend_.held(); }
  CacheShape cache_shape(DType dtype, int64_t slots, int64_t length, int64_t num_kv_heads,
                         int64_t head_dim) const noexcept override {
    return backend_.cache_shape(dtype, slots, length, num_kv_heads, head_dim);
  }
  int64_t logits_rows(int64_t padded_vocab) const noexcept override { return backend_.logits_rows(padded_vocab); }
  DType logits_dtype(DType dtype) const noexcept override { return backend_.logits_dtype(dtype); }
  DeviceMemory memory() const noexcept override { return backend_.memory(); }
  double peak_flops(DType dtype) const noexcept override { return backend_.peak_flops(dtype); }
#define X(Op)                                                    \
  void run(const op::Op& op, Failure& f) noexcept override {     \
    done(f, [&] { backend_.run(op); });                          \
  }                                                              \
  void reserve(const op::Op& op, Failure& f) noexcept override { \
    done(f, [&] { backend_.reserve(op); });                      \
  }
  HEED_OPS(X)
#undef X

 private:
  template <class Work>
  static void done(Failure& failure, Work work) noexcept {
    guarded(failure, 0, [&] {
      work();
      return 0;
    });
  }

  B backend_;
};

}  // namespace heed
