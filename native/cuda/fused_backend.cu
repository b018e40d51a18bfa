#include "native/cuda/fused_backend.h"

namespace heed::cuda {
namespace {

bool same(const Tensor& a, const Tensor& b) {
  return a.data == b.data && a.dtype == b.dtype && a.rows == b.rows && a.cols == b.cols;
}

}  // namespace

void FusedBackend::release(void* data, int64_t bytes) noexcept {
  try {
    flush();
  } catch (...) {  // the launch failed: so will the next one
  }
  CudaBackend::release(data, bytes);
}
void FusedBackend::upload(const Tensor& dst, const void* host) {
  flush();
  CudaBackend::upload(dst, host);
}
void FusedBackend::download(void* host, const Tensor& src) {
  flush();
  CudaBackend::download(host, src);
}
void FusedBackend::copy(const Tensor& dst, const Tensor& src) {
  flush();
  CudaBackend::copy(dst, src);
}
void FusedBackend::zero(const Tensor& dst) {
  wait_for_next(Zero{dst});
}
StepState FusedBackend::begin_step(const StepKey& key) {
  flush();
  return CudaBackend::begin_step(key);
}
void FusedBackend::finish_step() {
  flush();
  CudaBackend::finish_step();
}
void FusedBackend::drop_step() noexcept {
  waiting_ = {};
  CudaBackend::drop_step();
}

void FusedBackend::flush() {
  std::visit(
      [this]<class Waiting>(const Waiting& op) {
        if constexpr (std::is_same_v<Waiting, Zero>)
          CudaBackend::zero(op.of);
        else if constexpr (!std::is_same_v<Waiting, std::monostate>)
          CudaBackend::launch(op);
      },
      std::exchange(waiting_, {}));
}

void FusedBackend::next(const op::Gemm& op) {
  flush();
  if (op.a.dtype == DType::bf16 && has_few_rows(product_of(op)))
    waiting_ = op;
  else
    CudaBackend::launch(op);
}

void FusedBackend::next(const op::Int8Gemm& op) {
  flush();
  if (is_narrow(op))
    waiting_ = op;
  else
    CudaBackend::launch(op);
}

void FusedBackend::next(const op::CacheWrite& op) {
  wait_for_next(op);
}

bool FusedBackend::activate(const Tensor& product, Activation activation, const Tensor& out) {
  if (out.data == product.data) return false;
  Product p{};
  if (const auto* gemm = std::get_if<op::Gemm>(&waiting_); gemm != nullptr && same(gemm->out, product))
    p = product_of(*gemm);
  else if (const auto* narrow = std::get_if<op::Int8Gemm>(&waiting_);
           narrow != nullptr && same(narrow->out, product) &&
           (activation != Activation::swiglu || product.cols % 32 == 0))
    p = product_of(*narrow);
  else
    return false;
  p.activation = activation;
  p.activated = out.ptr<bf16>();
  waiting_ = {};
  multiply(p, stream());
  return true;
}

void FusedBackend::next(const op::Gelu& op) {
  if (activate(op.x, op.exact ? Activation::exact_gelu : Activation::gelu, op.out)) return;
  flush();
  CudaBackend::launch(op);
}

void FusedBackend::next(const op::SwiGlu& op) {
  if (op.gate_up.cols % 16 == 0 && activate(op.gate_up, Activation::swiglu, op.out)) return;
  flush();
  CudaBackend::launch(op);
}

void FusedBackend::next(const op::AttentionDecode& op) {
  const auto* write = std::get_if<op::CacheWrite>(&waiting_);
  // Otherwise a row may read what another one writes.
  const bool writes = op.distinct_slots && write != nullptr && same(write->qkv, op.qkv) && same(write->keys, op.keys) &&
                      same(write->values, op.values) && same(write->slots, op.slots) &&
                      same(write->positions, op.positions) && write->num_kv_heads == op.num_kv_heads;
  if (writes)
    waiting_ = {};
  else
    flush();
  attend_to_cache(op, writes);
}

template <class First, class Next>
bool FusedBackend::launch_with(op::Out First::*written, const Tensor& x, const Next& next) {
  const First* waiting = std::get_if<First>(&waiting_);
  if (waiting == nullptr || !same(waiting->*written, x)) return false;
  const First first = *waiting;
  waiting_ = {};
  launch_together(first, next);
  return true;
}

void FusedBackend::next(const op::BiasBackward& op) {
  if (launch_with(&op::GeluBackward::dx, op.dout, op) || launch_with(&op::ReluBackward::dx, op.dout, op)) return;
  flush();
  CudaBackend::launch(op);
}

void FusedBackend::next(const op::Add& op) {
  // In place, and of something else: what the first op wrote is not in memory then.
  if (same(op.out, op.a) && op.b.data != op.out.data &&
      (launch_with(&op::Dropout::out, op.a, op) || launch_with(&op::LayerNorm::out, op.a, op) ||
       launch_with(&op::RmsNorm::out, op.a, op)))
    return;
  flush();
  CudaBackend::launch(op);
}

template <class Op>
void FusedBackend::differentiate_norm(const Op& op) {
  const Zero* zero = std::get_if<Zero>(&waiting_);
  const bool fresh = zero != nullptr && same(zero->of, op.dx);
  if (fresh)
    waiting_ = {};
  else
    flush();
  differentiate(op, fresh);
}
void FusedBackend::next(const op::LayerNormBackward& op) {
  differentiate_norm(op);
}
void FusedBackend::next(const op::RmsNormBackward& op) {
  differentiate_norm(op);
}

}  // namespace heed::cuda
