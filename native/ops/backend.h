// The interface of a device: memory, and the ops of HEED_OPS. Model code uses only this.
#pragma once

#include <atomic>

#include "native/core/buffer.h"
#include "native/core/error.h"
#include "native/core/tensor.h"
#include "native/ops/activation.h"
#include "native/ops/attention.h"
#include "native/ops/embedding.h"
#include "native/ops/fields.h"
#include "native/ops/gemm.h"
#include "native/ops/int8.h"
#include "native/ops/logits.h"
#include "native/ops/lowrank.h"
#include "native/ops/norm.h"
#include "native/ops/optimizer.h"
#include "native/ops/ppo.h"
#include "native/ops/preference.h"
#include "native/ops/rows.h"
#include "native/ops/sample.h"

// The op table. Struct, shapes and formula of an op are in the header named beside it.
// clang-format off
#define HEED_OPS(X)                                                     \
  X(Embedding) X(EmbeddingBackward) X(Rope)          /* embedding.h  */ \
  X(LayerNorm) X(LayerNormBackward)                  /* norm.h       */ \
  X(RmsNorm) X(RmsNormBackward)                                         \
  X(QkNorm) X(QkNormBackward)                                           \
  X(Gemm) X(BiasBackward)                            /* gemm.h       */ \
  X(Int8Gemm)                                        /* int8.h       */ \
  X(AddColumns) X(TakeColumns)                       /* lowrank.h    */ \
  X(Gelu) X(GeluBackward)                            /* activation.h */ \
  X(Relu) X(ReluBackward)                                               \
  X(SwiGlu) X(SwiGluBackward) X(GeGlu) X(GeGluBackward)                 \
  X(Scale) X(SoftCap) X(SoftCapBackward) X(Add) X(Dropout)              \
  X(Attention) X(AttentionBackward)                  /* attention.h  */ \
  X(CacheWrite) X(CacheCopy) X(AttentionDecode)                         \
  X(GatherRows) X(ScatterRowsAdd) X(Convert)         /* rows.h       */ \
  X(CrossEntropyLoss) X(TokenLogprobs)               /* logits.h     */ \
  X(PairwiseLoss)                                    /* preference.h */ \
  X(PpoPolicyLoss) X(PpoValueLoss)                   /* ppo.h        */ \
  X(SquaredNorm) X(AdamW) X(Lerp)                    /* optimizer.h  */ \
  X(Sample)                                          /* sample.h     */
// clang-format on

namespace heed {

// A layer's keys and values in the cache of one backend, without memory.
struct CacheShape {
  Tensor keys, values;
  int64_t length;  // positions per slot, at least the requested number
};

// Memory that a backend holds besides its buffers.
struct Held {
  int64_t scratch_bytes = 0;  // working memory of its kernels
  int64_t packed_bytes = 0;   // weights in the layout of its matrix product
};

// All that the ops of a repeated step depend on besides the contents of their tensors.
struct StepKey {
  uint64_t owner = 0;            // of the tensors (RepeatedSteps)
  const void* memory = nullptr;  // where the step's part of the arena begins
  int64_t rows = 0;
  uint64_t kind = 0;  // which the owner gives to steps of other ops with as many rows
  bool operator==(const StepKey&) const = default;
};
enum class StepState : uint8_t { kRun, kRecord, kDone };

// Of the device at this moment; zeros where it is the host's, which the system grants.
struct DeviceMemory {
  int64_t free_bytes = 0, total_bytes = 0;
};

class Backend : public Memory {
 public:
  virtual void upload(const Tensor& dst, const void* host) = 0;  // returns when host may be reused
  virtual void download(void* host, const Tensor& src) = 0;      // returns when host is filled
  virtual void copy(const Tensor& dst, const Tensor& src) = 0;   // same dtype and shape
  virtual void zero(const Tensor& dst) = 0;
  virtual const char* name() const = 0;             // "cpu avx512"
  virtual int threads() const { return 0; }         // CPU threads that run its ops
  virtual bool measuring() const { return false; }  // true: only checks ops and runs nothing (NullBackend)
  virtual Held held() const = 0;

  // Choices of the device.
  virtual CacheShape cache_shape(DType dtype, int64_t slots, int64_t length, int64_t num_kv_heads,
                                 int64_t head_dim) const = 0;
  virtual int64_t logits_rows(
      int64_t padded_vocab) const = 0;                // rows per chunk: logits are never stored for a whole batch
  virtual DType logits_dtype(DType dtype) const = 0;  // for parameters of this type

  // FLOP/s that the device can do at most in matrix products of this type, a multiply-add being two. A CPU measures it,
  // in some milliseconds, each time.
  virtual double peak_flops(DType dtype) const = 0;
  virtual DeviceMemory memory() const { return {}; }

  // Converts host floats to a tensor of f32 or bf16, rounded, and back.
  void upload_floats(const Tensor& dst, const float* host);
  void download_floats(float* host, const Tensor& src);

  // The only way to run an op: named fields, checked once, then launched in stream order.
  //   backend.run(op::PpoPolicyLoss{ .logits = logits, ... });
  template <class Op>
  void run(const Op& op) {
    op.check();
    check_cancelled();
    launch(op);
  }

  // Allocates the memory that run(op) needs besides its tensors, which may still be null except for weights; throws
  // Error(OutOfMemory). run() does so itself; calling this for all ops of a pass beforehand keeps a pass from failing
  // half-way.
  template <class Op>
  void reserve(const Op& op) {
    op.check();
    prepare(op);
  }

  // Runs ops(), which runs ops and nothing else. With a key that was given before, a device may instead do again what
  // the ops did then, without calling ops(): whatever changes in between has to be in the memory of tensors. Returns
  // whether ops() was called.
  template <class Ops>
  bool repeat(const StepKey& key, Ops&& ops) {
    check_cancelled();
    const StepState state = begin_step(key);
    if (state == StepState::kDone) return false;
    try {
      ops();
    } catch (...) {
      if (state == StepState::kRecord) drop_step();
      throw;
    }
    if (state == StepState::kRecord) finish_step();
    return true;
  }
  // What repeat() consists of. kDone: the step was done again; kRecord: the ops until finish_step() or drop_step() are
  // recorded, and finish_step() does them.
  virtual StepState begin_step(const StepKey&) { return StepState::kRun; }
  virtual void finish_step() {}
  virtual void drop_step() noexcept {}
  // No step of this owner is repeated any more.
  virtual void forget_steps(uint64_t /*owner*/) noexcept {}

  // The job's cancel flag. run() checks it, so that a cancelled pass ends after the current op; work outside of ops
  // calls check_cancelled().
  void set_cancel(const std::atomic<bool>* flag) { cancel_ = flag; }
  void check_cancelled() const {
    if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed))
      throw Error(ErrorCode::Aborted, "the operation was aborted");
  }

 protected:
#define X(Op)                             \
  virtual void launch(const op::Op&) = 0; \
  virtual void prepare(const op::Op&) {}
  HEED_OPS(X)
#undef X

 private:
  const std::atomic<bool>* cancel_ = nullptr;
};

// The steps that are repeated with tensors of one owner, which it holds longer than this.
class RepeatedSteps {
 public:
  explicit RepeatedSteps(Backend& backend);
  ~RepeatedSteps() { backend_.forget_steps(owner_); }
  RepeatedSteps(const RepeatedSteps&) = delete;
  RepeatedSteps& operator=(const RepeatedSteps&) = delete;

  StepKey key(const void* memory, int64_t rows, uint64_t kind = 0) const { return {owner_, memory, rows, kind}; }

 private:
  Backend& backend_;
  const uint64_t owner_;
};

}  // namespace heed
