// Ops that follow one another and have one kernel together. A step of generation is little else than launches, so there
// a product with few rows waits to see whether its activation follows, and what goes to the cache waits for attention.
// Training is bound by memory between its products: there an activation's gradient waits for its sum over rows, dropout
// and norms for the residual, and zeros for the norm's gradient that would be added to them. The bits are those of the
// ops one by one, and so is what is in memory after each pair.
#pragma once

#include <variant>

#include "native/cuda/backend.h"
#include "native/cuda/gemm.h"

namespace heed::cuda {

class FusedBackend final : public CudaBackend {
 public:
  void release(void* data, int64_t bytes) noexcept override;
  void upload(const Tensor& dst, const void* host) override;
  void download(void* host, const Tensor& src) override;
  void copy(const Tensor& dst, const Tensor& src) override;
  void zero(const Tensor& dst) override;
  StepState begin_step(const StepKey& key) override;
  void finish_step() override;
  void drop_step() noexcept override;

 private:
#define X(Op)                              \
  void launch(const op::Op& op) override { \
    next(op);                              \
  }
  HEED_OPS(X)
#undef X

  template <class Op>
  void next(const Op& op) {
    flush();
    CudaBackend::launch(op);
  }
  void next(const op::Gemm& op);
  void next(const op::Int8Gemm& op);
  void next(const op::CacheWrite& op);
  void next(const op::Gelu& op);
  void next(const op::SwiGlu& op);
  void next(const op::AttentionDecode& op);
  void next(const op::GeluBackward& op) {
    wait_for_next(op);
  }
  void next(const op::ReluBackward& op) {
    wait_for_next(op);
  }
  void next(const op::BiasBackward& op);
  void next(const op::Dropout& op) {
    wait_for_next(op);
  }
  void next(const op::LayerNorm& op) {
    wait_for_next(op);
  }
  void next(const op::RmsNorm& op) {
    wait_for_next(op);
  }
  void next(const op::Add& op);
  void next(const op::LayerNormBackward& op);
  void next(const op::RmsNormBackward& op);

  // Whether the op that waits is a product with this result; it is then enqueued with its activation.
  bool activate(const Tensor& product, Activation activation, const Tensor& out);
  // Enqueues what waits.
  void flush();
  template <class Op>
  void wait_for_next(const Op& op) {
    flush();
    waiting_ = op;
  }
  // Whether an op of this kind waits that writes all of x; it is then enqueued together with the next one.
  template <class First, class Next>
  bool launch_with(op::Out First::*written, const Tensor& x, const Next& next);
  template <class Op>
  void differentiate_norm(const Op& op);

  struct Zero {
    Tensor of;
  };
  std::variant<std::monostate, op::Gemm, op::Int8Gemm, op::CacheWrite, op::GeluBackward, op::ReluBackward, op::Dropout,
               op::LayerNorm, op::RmsNorm, Zero>
      waiting_;
};

}  // namespace heed::cuda
