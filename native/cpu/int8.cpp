// Products with frozen weights of 8 bits: the blocks of gemm_blocks.h, whose panels of b are widened as they are
// packed.
#include "native/cpu/level.h"
// level.h comes first in every kernel source.
#include "native/cpu/gemm_blocks.h"

namespace heed::cpu::HEED_LEVEL {
namespace {

template <class Steps>
int64_t steps_of(int64_t k) {
  return ceil_div(k, Steps::kTerms);
}

template <class Steps>
Need need_of(const op::Int8Gemm& op) {
  const int64_t steps = steps_of<Steps>(op.a.cols);
  return {.own = TaskMemory(op.out.rows, op.out.cols, steps, op.out.dtype == DType::bf16,
                            unpacked_floats<Steps>(depth_of(steps)), nullptr)
                     .floats};
}

template <class Steps, class T>
void multiply(Context& context, const op::Int8Gemm& op, const typename Steps::Type* a, T* out) {
  Product<Steps, T, Int8Matrix> p{};
  p.m = op.out.rows;
  p.n = op.out.cols;
  p.k = op.a.cols;
  if (p.m == 0) return;
  p.steps = steps_of<Steps>(p.k);
  p.depth = depth_of(p.steps);
  p.a = {a, op.a.cols, false};
  p.b = {static_cast<const int8_t*>(op.b.data), op.b.cols, op.transpose_b, static_cast<const float*>(op.scale.data)};
  p.out = out;
  p.add = op.residual.rows != 0 ? as(out, op.residual) : nullptr;
  p.bias = op.bias.rows != 0 ? as(out, op.bias) : nullptr;
  multiply_blocks(context, p, context.workspace(need_of<Steps>(op)));
}

}  // namespace

Need need(const Context&, const op::Int8Gemm& op) {
  return op.a.dtype == DType::f32 ? need_of<Single<float>>(op) : need_of<Bf16Steps>(op);
}

void run(Context& context, const op::Int8Gemm& op) {
  if (op.a.dtype == DType::f32)
    multiply<Single<float>>(context, op, floats(op.a), floats(op.out));
  else
    multiply<Bf16Steps>(context, op, static_cast<bf16*>(op.a.data), static_cast<bf16*>(op.out.data));
}

}  // namespace heed::cpu::HEED_LEVEL
