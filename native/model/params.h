// The parameters of a model: the only list of names, shapes, initial values and decay, and one buffer for all.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "native/engine.h"
#include "native/model/config.h"

namespace heed {

// Initial values (Radford et al. 2019): σ = 0.02, residual projections σ / √(2 L), the scalar head 1 / √(C + 1)
// (method of Ziegler et al. 2019).
enum class Init { kZeros, kOnes, kNormal, kResidual, kScalarHead };

// Consecutive elements of a tensor, with their name in files.
struct NamedPart {
  std::string name;
  int64_t begin;               // index of its first element
  std::vector<int64_t> shape;  // in files

  int64_t size() const;
  Tensor of(const Tensor& t) const;  // (size, 1)
};

struct ParamSpec {
  std::vector<NamedPart> parts;  // several if files store the tensor in parts (q, k and v)
  int64_t rows, cols;            // allocated; embeddings have padding rows, always zero
  Init init;
  bool decay;  // weight decay: on matrices only
};

// A missing bias has no rows.
struct LinearParams {
  Tensor weight, bias;
  Layout layout = Layout::kOutIn;
};
struct NormParams {
  Tensor weight, bias;
};
struct AttentionParams {
  LinearParams qkv, out;
};
struct MlpParams {
  LinearParams up, down;  // up: gate and up, if the MLP is gated
};
struct BlockParams {
  NormParams attention_norm;
  AttentionParams attention;
  NormParams mlp_norm;
  MlpParams mlp;
};

// Also the type of gradients and moments.
struct Params {
  Tensor wte, wpe;  // wpe: none with rotary positions
  std::vector<BlockParams> blocks;
  NormParams norm;
  Tensor head;  // (Vp, C) untied language head, (1, C) scalar head, none if the head is wte

  // Calls f for every parameter. Allocation, initialisation, loading, saving, weight decay, copying and counting all
  // walk this list.
  void visit(const ModelConfig& c, const std::function<void(Tensor&, const ParamSpec&)>& f);

  LinearParams language_head(const ModelConfig& c) const { return {c.tied_head ? wte : head, {}, Layout::kOutIn}; }
};

// Parameters and their memory; tensors are stored in the order of the list, with zero padding between them.
struct ParamStore {
  Params params;
  Buffer buffer;
  DType dtype = DType::f32;
  Tensor all() const { return {buffer.data(), dtype, 1, buffer.bytes() / size_of(dtype)}; }

  ParamStore() = default;
  ParamStore(Engine& engine, const ModelConfig& config, Engine::Purpose purpose, DType dtype);
};

}  // namespace heed
