// The parameters of a model: the one list of names, shapes, initial values and decay, and one buffer for all.
#pragma once

#include <string>
#include <vector>

#include "native/engine.h"
#include "native/model/config.h"

namespace heed {

// How a parameter starts (Radford et al. 2019): σ = 0.02, residual projections σ / √(2 L), the scalar head 1 / √(C + 1)
// (method of Ziegler et al. 2019).
enum class Init { kZeros, kOnes, kNormal, kResidual, kScalarHead };

// Rows [begin, begin + rows) of a tensor under the name they have in transformers' files.
struct NamedRows {
  std::string name;
  int64_t begin, rows;
  std::vector<int64_t> shape;  // in the file
};

struct ParamSpec {
  std::vector<NamedRows> parts;  // several where one matrix holds what files keep apart (q, k and v)
  int64_t rows, cols;            // allocated; embeddings have padding rows, always zero
  Init init;
  bool decay;  // weight decay: on matrices only
};

struct BlockParams {
  Tensor norm1_weight, norm1_bias, qkv_weight, qkv_bias, proj_weight, proj_bias;
  Tensor norm2_weight, norm2_bias, up_weight, up_bias, down_weight, down_bias;  // up: gate and up for Llama
};

// Also the type of gradients and moments.
struct Params {
  Tensor wte, wpe, norm_weight, norm_bias;
  Tensor head;  // (Vp, C) untied language head, (1, C) scalar head, none where the head is wte
  std::vector<BlockParams> blocks;

  // Calls f(Tensor&, const ParamSpec&) for every parameter. Allocation, initialisation, loading, saving, weight decay
  // and copying all walk this list. GPT-2 keeps its weights (in, out), Llama (out, in), as their files do.
  template <class F>
  void visit(const ModelConfig& c, F f);

  Tensor lm_head(const ModelConfig& c) const { return c.tied_head ? wte : head; }
};

// Parameters with their memory; tensors follow each other in the order of the list, padding between them zero.
struct ParamStore {
  Params params;
  Buffer buffer;
  Tensor all() const { return {buffer.data(), DType::f32, 1, buffer.bytes() / 4}; }

  ParamStore() = default;
  ParamStore(Engine& engine, const ModelConfig& config, Engine::Purpose purpose);
};

template <class F>
void Params::visit(const ModelConfig& c, F f) {
  const int64_t C = c.channels, V = c.vocab, Vp = c.padded_vocab(), F_ = c.mlp_channels, A = c.attention_cols();
  const int64_t Q = c.qkv_cols(), K = c.num_kv_heads * c.head_dim;
  blocks.resize(size_t(c.num_layers));
  const auto matrix = [&](Tensor& t, const std::string& name, int64_t rows, int64_t cols, Init init) {
    f(t, ParamSpec{{{name, 0, rows, {rows, cols}}}, rows, cols, init, true});
  };
  const auto vector = [&](Tensor& t, const std::string& name, int64_t n, Init init) {
    f(t, ParamSpec{{{name, 0, 1, {n}}}, 1, n, init, false});
  };
  const auto vocabulary = [&](Tensor& t, const std::string& name) {
    f(t, ParamSpec{{{name, 0, V, {V, C}}}, Vp, C, Init::kNormal, true});
  };

  if (c.architecture == Architecture::kGpt2) {
    vocabulary(wte, "transformer.wte.weight");
    matrix(wpe, "transformer.wpe.weight", c.max_positions, C, Init::kNormal);
    for (int64_t l = 0; l < c.num_layers; ++l) {
      BlockParams& p = blocks[size_t(l)];
      const std::string h = "transformer.h." + std::to_string(l) + ".";
      vector(p.norm1_weight, h + "ln_1.weight", C, Init::kOnes);
      vector(p.norm1_bias, h + "ln_1.bias", C, Init::kZeros);
      matrix(p.qkv_weight, h + "attn.c_attn.weight", C, Q, Init::kNormal);
      vector(p.qkv_bias, h + "attn.c_attn.bias", Q, Init::kZeros);
      matrix(p.proj_weight, h + "attn.c_proj.weight", A, C, Init::kResidual);
      vector(p.proj_bias, h + "attn.c_proj.bias", C, Init::kZeros);
      vector(p.norm2_weight, h + "ln_2.weight", C, Init::kOnes);
      vector(p.norm2_bias, h + "ln_2.bias", C, Init::kZeros);
      matrix(p.up_weight, h + "mlp.c_fc.weight", C, F_, Init::kNormal);
      vector(p.up_bias, h + "mlp.c_fc.bias", F_, Init::kZeros);
      matrix(p.down_weight, h + "mlp.c_proj.weight", F_, C, Init::kResidual);
      vector(p.down_bias, h + "mlp.c_proj.bias", C, Init::kZeros);
    }
    vector(norm_weight, "transformer.ln_f.weight", C, Init::kOnes);
    vector(norm_bias, "transformer.ln_f.bias", C, Init::kZeros);
  } else {
    vocabulary(wte, "model.embed_tokens.weight");
    for (int64_t l = 0; l < c.num_layers; ++l) {
      BlockParams& p = blocks[size_t(l)];
      const std::string h = "model.layers." + std::to_string(l) + ".";
      vector(p.norm1_weight, h + "input_layernorm.weight", C, Init::kOnes);
      f(p.qkv_weight, ParamSpec{{{h + "self_attn.q_proj.weight", 0, A, {A, C}},
                                 {h + "self_attn.k_proj.weight", A, K, {K, C}},
                                 {h + "self_attn.v_proj.weight", A + K, K, {K, C}}},
                                Q,
                                C,
                                Init::kNormal,
                                true});
      matrix(p.proj_weight, h + "self_attn.o_proj.weight", C, A, Init::kResidual);
      vector(p.norm2_weight, h + "post_attention_layernorm.weight", C, Init::kOnes);
      f(p.up_weight,
        ParamSpec{{{h + "mlp.gate_proj.weight", 0, F_, {F_, C}}, {h + "mlp.up_proj.weight", F_, F_, {F_, C}}},
                  2 * F_,
                  C,
                  Init::kNormal,
                  true});
      matrix(p.down_weight, h + "mlp.down_proj.weight", C, F_, Init::kResidual);
    }
    vector(norm_weight, "model.norm.weight", C, Init::kOnes);
  }
  if (c.head == Head::kScalar) {
    f(head, ParamSpec{{{"score.weight", 0, 1, {1, C}}}, 1, C, Init::kScalarHead, true});
  } else if (!c.tied_head) {
    vocabulary(head, "lm_head.weight");
  }
}

}  // namespace heed
