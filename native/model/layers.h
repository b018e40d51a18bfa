// Linear layers, norms and the MLP, each with its backward pass. Gradients of parameters are accumulated.
#pragma once

#include "native/model/pass.h"

namespace heed {

// out = x·weight [+ bias] [+ residual] [+ adapters]
void linear_forward(const PassContext& pass, const LinearParams& p, Tensor out, Tensor x, Tensor residual = {});
// Parameters without a gradient are constant.
void linear_backward(const PassContext& pass, const LinearParams& p, const LinearParams& grads, Tensor dx, Tensor dout,
                     Tensor x);

struct NormActs {
  Tensor out;         // (N, C)
  Tensor mean, rstd;  // (N); RMSNorm has no mean
  static NormActs take(const PassContext& pass);
  static NormActs take_statistics(const PassContext& pass);  // without out
};
void norm_forward(const PassContext& pass, const NormParams& p, const NormActs& acts, Tensor x);
// dx +=
void norm_backward(const PassContext& pass, const NormParams& p, const NormParams& grads, const NormActs& acts,
                   Tensor dx, Tensor dout, Tensor x);

// The end of a residual branch: out = residual + dropout(linear(x)), or residual + dropout(norm(linear(x))) with post
// norms. site: index of the dropout in the model.
struct BranchParams {
  const LinearParams& linear;
  const NormParams& norm;
};
struct BranchActs {
  Tensor linear;  // (N, C), only with post norms
  NormActs norm;  // without out
  static BranchActs take(const PassContext& pass);
};
// Without out, only the activations are computed.
void branch_forward(const PassContext& pass, const BranchParams& p, const BranchActs& acts, uint32_t site, Tensor out,
                    Tensor x, Tensor residual);
// dx = d loss / d x from dout; the residual's gradient is dout itself.
void branch_backward(const PassContext& pass, const BranchParams& p, const BranchParams& grads, const BranchActs& acts,
                     uint32_t site, Tensor dx, Tensor dout, Tensor x);

struct MlpActs {
  Tensor up;   // (N, F), or (N, 2 F): gate and up
  Tensor act;  // (N, F)
  BranchActs branch;
  static MlpActs take(const PassContext& pass);
};
// out = residual + mlp(x); without out, only the activations are computed.
void mlp_forward(const PassContext& pass, const MlpParams& p, const MlpActs& acts, int64_t layer, Tensor out, Tensor x,
                 Tensor residual);
// dx = d loss / d x from dout; the residual's gradient is dout itself.
void mlp_backward(const PassContext& pass, const MlpParams& p, const MlpParams& grads, const MlpActs& acts,
                  int64_t layer, Tensor dx, Tensor dout, Tensor x);

}  // namespace heed
