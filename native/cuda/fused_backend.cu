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
  flush();
  CudaBackend::zero(dst);
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
  const auto waiting = std::exchange(waiting_, {});
  if (const auto* gemm = std::get_if<op::Gemm>(&waiting)) CudaBackend::launch(*gemm);
  if (const auto* write = std::get_if<op::CacheWrite>(&waiting)) CudaBackend::launch(*write);
}

void FusedBackend::next(const op::Gemm& op) {
  flush();
  if (op.a.dtype == DType::bf16 && has_few_rows(product_of(op)))
    waiting_ = op;
  else
    CudaBackend::launch(op);
}

void FusedBackend::next(const op::CacheWrite& op) {
  flush();
  waiting_ = op;
}

bool FusedBackend::activate(const Tensor& product, Activation activation, const Tensor& out) {
  const auto* gemm = std::get_if<op::Gemm>(&waiting_);
  if (gemm == nullptr || !same(gemm->out, product) || out.data == product.data) return false;
  Product p = product_of(*gemm);
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

}  // namespace heed::cuda
