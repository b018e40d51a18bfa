// The parameters of a model, or of an adapter to one: the only list of names, shapes, initial values and decay, and one
// buffer for all.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "native/engine.h"
#include "native/model/config.h"

namespace heed {

// Initial values (Radford et al. 2019): σ = 0.02, residual projections σ / √(2 L), the scalar head 1 / √(C + 1)
// (method of Ziegler et al. 2019).
// An adapter begins as nothing: its first factor uniform in ± 1 / √in, as in PEFT, its second zero.
enum class Init { kZeros, kOnes, kNormal, kResidual, kScalarHead, kAdapter };

// Elements of a tensor, with their name in files.
struct NamedPart {
  struct Piece {
    int64_t begin, size;  // elements of the tensor
  };
  std::string name;
  std::vector<Piece> pieces;   // one after the other in files
  std::vector<int64_t> shape;  // in files

  int64_t size() const;
  // (size, 1) of each piece of the tensor that is this parameter, in their order in files.
  std::vector<Tensor> of(const Tensor& t) const;
};

std::vector<float> download_pieces(Backend& backend, const std::vector<Tensor>& pieces);

struct ParamSpec {
  std::vector<NamedPart> parts;  // several if files store the tensor in parts (q, k and v)
  int64_t rows, cols;            // allocated; embeddings have padding rows, always zero
  Init init;
  bool decay;                       // weight decay: on matrices only
  std::optional<DType> dtype = {};  // default: that of the store
};

// A low-rank term of a linear layer (Hu et al. 2021): out[:, first:] += scale · (x·aᵀ)·bᵀ
struct LowRank {
  Tensor a;           // (r, in)
  Tensor b;           // (out, r), where out is a part of the layer's outputs: q, k or v of a fused matrix
  int64_t first = 0;  // of these outputs
  float scale = 1;
  uint32_t site = 0;                     // of its dropout in the model
  int64_t first_row = 0, num_rows = -1;  // of the batch, that have the term; -1: all (native/model/mix.h)

  Tensor rows_of(const Tensor& t) const { return num_rows < 0 ? t : t.slice(first_row, num_rows); }
};

// A missing bias has no rows.
struct LinearParams {
  Tensor weight, bias;
  Layout layout = Layout::kOutIn;
  std::vector<LowRank> adapters;
  Tensor scale = {};  // (1, out) f32 of a weight of 8 bits, which is (in, out) whatever the layout in files; or none
};
struct NormParams {
  Tensor weight, bias;
};
struct AttentionParams {
  LinearParams qkv, out;
  Tensor q_norm, k_norm;  // weights
  NormParams post_norm;
};
struct MlpParams {
  LinearParams up, down;  // up: gate and up, if the MLP is gated
  NormParams post_norm;
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

  // Calls f for every parameter of a model without an adapter.
  void visit(const ModelConfig& c, const std::function<void(Tensor&, const ParamSpec&)>& f);

  LinearParams language_head(const ModelConfig& c) const { return {c.tied_head ? wte : head, {}, Layout::kOutIn, {}}; }
};

// A linear layer of the base that has a low-rank term.
struct AdapterTarget {
  std::string module;  // its name in files: "model.layers.0.self_attn.q_proj"
  int64_t rank = 0;
  float scale = 1;
};

// The parameters that a model has of its own, which are trained and saved: all, or those of an adapter to a frozen
// base. Allocation, initialisation, loading, saving, weight decay, copying and counting all walk this list.
class ParamList {
 public:
  ParamList() = default;
  explicit ParamList(ModelConfig config) : config_(std::move(config)) {}
  // A scalar model's adapter also has its head. Throws Error(InvalidArgument) naming a target that is not a linear
  // layer of the model's blocks.
  ParamList(ModelConfig config, std::vector<AdapterTarget> targets);

  const ModelConfig& config() const { return config_; }
  bool is_adapter() const { return !targets_.empty(); }
  void visit(Params& params, const std::function<void(Tensor&, const ParamSpec&)>& f) const;

 private:
  ModelConfig config_;
  std::vector<AdapterTarget> targets_;
};

// Parameters and their memory; tensors are stored in the order of the list, with zero padding between them.
struct ParamStore {
  Params params;
  Buffer buffer;
  DType dtype = DType::f32;
  Tensor all() const { return {buffer.data(), dtype, 1, buffer.bytes() / size_of(dtype)}; }

  ParamStore() = default;
  ParamStore(Engine& engine, const ParamList& list, Engine::Purpose purpose, DType dtype);
};

}  // namespace heed
