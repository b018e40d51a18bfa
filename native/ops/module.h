// The door of a backend that lives in a shared library of its own and is opened at run time (native/factory.cpp).
//
// extern "C", so that it is found by name:
//   const char* heed_cuda_version() noexcept                 the version of heed that the module is of
//   uint64_t heed_cuda_door() noexcept                       kDoor, as the module was compiled with it
//   heed::Module* heed_cuda_open(heed::Failure&) noexcept    null, and the reason, if there is no device
#pragma once

#include <cstring>

#include "native/ops/backend.h"

namespace heed {

// Why a call failed. A value, not an exception: the module and its caller may have different C++ runtimes, and an
// exception that passes from one to the other ends the process.
struct Failure {
  bool failed = false;
  ErrorCode code = ErrorCode::Internal;
  char message[500] = "";

  void set(ErrorCode error, const char* text) noexcept {
    failed = true;
    code = error;
    std::strncpy(message, text, sizeof message - 1);
  }
};

// A Backend as the other side of the door sees it. Implemented in the module by Guarded (guarded.h), and made into a
// Backend again by ModuleBackend (native/module_backend.h).
class Module {
 public:
  virtual ~Module() = default;
  virtual void* allocate(int64_t bytes, Failure&) noexcept = 0;
  virtual void release(void* data, int64_t bytes) noexcept = 0;
  virtual void upload(const Tensor& dst, const void* host, Failure&) noexcept = 0;
  virtual void download(void* host, const Tensor& src, Failure&) noexcept = 0;
  virtual void copy(const Tensor& dst, const Tensor& src, Failure&) noexcept = 0;
  virtual void zero(const Tensor& dst, Failure&) noexcept = 0;
  virtual StepState begin_step(const StepKey& key, Failure&) noexcept = 0;
  virtual void finish_step(Failure&) noexcept = 0;
  virtual void drop_step() noexcept = 0;
  virtual void forget_steps(uint64_t owner) noexcept = 0;
  virtual const char* name() const noexcept = 0;
  virtual Held held() const noexcept = 0;
  virtual CacheShape cache_shape(DType dtype, int64_t slots, int64_t length, int64_t num_kv_heads,
                                 int64_t head_dim) const noexcept = 0;
  virtual int64_t logits_rows(int64_t padded_vocab) const noexcept = 0;
  virtual DType logits_dtype(DType dtype) const noexcept = 0;
  virtual DeviceMemory memory() const noexcept = 0;
  virtual double peak_flops(DType dtype) const noexcept = 0;
#define X(Op)                                                \
  virtual void run(const op::Op& op, Failure&) noexcept = 0; \
  virtual void reserve(const op::Op& op, Failure&) noexcept = 0;
  HEED_OPS(X)
#undef X
};

// Of everything that both sides must agree on: the op table, and with it the virtual functions of Module; the sizes
// and fields of the ops. Raise the number with any other change of what crosses the door.
constexpr uint64_t door() {
  uint64_t hash = 14695981039346656037u + 5;
  const auto add = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
#define X(Op)                                                \
  for (const char* c = #Op; *c != 0; ++c) add(uint64_t(*c)); \
  add(sizeof(op::Op));                                       \
  add(op::fields::count<op::Op>());
  HEED_OPS(X)
#undef X
  add(sizeof(Tensor));
  add(sizeof(Failure));
  return hash;
}
inline constexpr uint64_t kDoor = door();

using ModuleVersion = const char* (*)();
using ModuleDoor = uint64_t (*)();
using ModuleOpen = Module* (*)(Failure&);

}  // namespace heed
