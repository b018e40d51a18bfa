// Small models and batches for the tests of models.
#pragma once

#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "native/model/generate.h"
#include "native/model/transformer.h"
#include "native/train/trainer.h"

namespace toy {

using namespace heed;

// On the device given by HEED_TEST_DEVICE, else on the CPU.
inline std::shared_ptr<Engine> engine(int threads = 1, int64_t max_tokens = 4096, DType dtype = DType::f32) {
  const char* device = std::getenv("HEED_TEST_DEVICE");
  return std::make_shared<Engine>(EngineOptions{
      .device = device == nullptr ? "cpu" : device, .dtype = dtype, .threads = threads, .max_tokens = max_tokens});
}

inline ParameterNames names(bool fused) {
  return {.embedding = "embedding",
          .positions = "positions",
          .attention_norm = "{}.attention_norm",
          .qkv = fused ? std::vector<std::string>{"{}.qkv"} : std::vector<std::string>{"{}.q", "{}.k", "{}.v"},
          .q_norm = "{}.q_norm",
          .k_norm = "{}.k_norm",
          .attention_out = "{}.attention_out",
          .attention_post_norm = "{}.attention_post_norm",
          .mlp_norm = "{}.mlp_norm",
          .up = fused ? std::vector<std::string>{"{}.up"} : std::vector<std::string>{"{}.gate", "{}.up"},
          .down = "{}.down",
          .mlp_post_norm = "{}.mlp_post_norm",
          .final_norm = "norm",
          .language_head = "head",
          .scalar_head = "score"};
}

// A prompt of three tokens with two samples, which begin in the slots 0 and 1.
inline StartRequest two_samples() {
  StartRequest q;
  q.tokens = {1, 2, 3};
  q.cu_seqlens = {0, 3};
  q.prompt_of = {0, 0};
  q.slots = {0, 1};
  q.seeds = {1, 2, 1, 2};
  q.sample_index = {0, 1};
  q.max_new_tokens = {9, 9};
  q.cached = q.cached_in = {0};
  q.sampling = {{}};
  q.sampling_of = {0, 0};
  return q;
}

// Kinds of model: 0 like GPT-2, 5 with the exact GELU; 1 like Llama, grouped queries, tied head; 2 the same, untied; 3
// with every bias beside (out, in) weights; 4 learned positions with RMSNorm and a gated MLP without biases, (in, out);
// 6 like 1, the second layer with a sliding window; 7 like Qwen3, norms of each head's queries and keys; 8 like
// GPT-NeoX, parallel, half of the channels rotary, one matrix by head; 9 like OLMo 2, norms after, of all queries and
// keys; 10 like GPT-Neo and OPT, learned positions from the third row, scores that are not scaled; 11 like Gemma 2,
// with caps; 12 like Gemma 3 and SmolLM3, rotary positions of three kinds
constexpr int kKinds = 13;
inline ModelConfig config(int kind, Head head = Head::kLanguage) {
  const bool gpt2 = kind == 0 || kind == 5, learned = gpt2 || kind == 4, in_out = gpt2 || kind == 4,
             biases = gpt2 || kind == 3;
  ModelConfig c;
  c.head = head;
  c.num_layers = 2;
  c.num_heads = 4;
  c.num_kv_heads = gpt2 ? 4 : 2;
  c.head_dim = 4;
  c.channels = 16;
  c.mlp_channels = gpt2 ? 64 : 40;
  c.vocab = 37;
  c.max_positions = 48;
  c.norm = gpt2 ? Norm::kLayer : Norm::kRms;
  if (!learned) c.rope_frequencies = {1, 0.01};
  c.activation = kind == 0 ? Activation::kGeluTanh : kind == 5 ? Activation::kGelu : Activation::kSilu;
  c.gated_mlp = !gpt2;
  c.qkv_bias = c.attention_out_bias = c.mlp_bias = biases;
  c.layout = in_out ? Layout::kInOut : Layout::kOutIn;
  c.tied_head = kind != 2;
  if (kind == 6) {
    c.sliding_window = 5;
    c.full_layers = {0};
  }
  c.names = names(in_out);
  if (kind == 7) c.qk_norm = QkNormOf::kHead;
  if (kind == 8) {
    c.num_kv_heads = c.num_heads;
    c.norm = Norm::kLayer;
    c.parallel_residual = true;
    c.rope_frequencies = {1};
    c.activation = Activation::kGelu;
    c.gated_mlp = false;
    c.qkv_bias = c.attention_out_bias = c.mlp_bias = true;
    c.names.qkv = {"{}.qkv"};
    c.names.up = {"{}.up"};
    c.names.qkv_by_head = true;
  }
  if (kind == 9) {
    c.pre_norm = false;
    c.post_norm = true;
    c.qk_norm = QkNormOf::kAll;
  }
  if (kind == 10) {
    c.norm = Norm::kLayer;
    c.rope_frequencies.clear();
    c.position_offset = 2;
    c.attention_scale = 1;
    c.activation = Activation::kGelu;  // ReLU's bends are no place for finite differences
    c.gated_mlp = false;
    c.mlp_bias = true;
    c.names.up = {"{}.up"};
    c.sliding_window = 5;
    c.full_layers = {0};
  }
  if (kind == 11 || kind == 12) {
    c.norm_offset = 1;
    c.post_norm = true;
    c.embedding_scale = 4;
    c.activation = Activation::kGeluTanh;
    c.sliding_window = 5;
    c.full_layers = {1};
  }
  if (kind == 11) {
    c.attention_scale = 0.6f;
    c.attention_softcap = 1.5f;
    c.logit_softcap = 8;
  }
  if (kind == 12) {
    c.num_layers = 3;
    c.qk_norm = QkNormOf::kHead;
    c.window_rope_frequencies = {0.5, 0.1};
    c.no_rope_layers = {2};
  }
  return c;
}

// Weights ten times larger than a new model's, so that nothing is nearly linear.
inline std::shared_ptr<Model> model(std::shared_ptr<Engine> engine, const ModelConfig& c, uint64_t seed = 1) {
  auto m = std::make_shared<Model>(std::move(engine), c);
  m->initialize(seed);
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(0, 0.3f);
  m->visit_own([&](Tensor& t, const ParamSpec& spec) {
    int64_t count = 0;
    for (const NamedPart& part : spec.parts) count += part.size();
    std::vector<float> x(size_t(t.size()));
    m->engine()->backend().download_floats(x.data(), t);
    for (int64_t i = 0; i < count; ++i) x[size_t(i)] += normal(rng);
    m->engine()->backend().upload_floats(t, x.data());
  });
  return m;
}

struct Tree {
  std::vector<int32_t> prompt;
  std::vector<std::vector<int32_t>> responses;
};

inline std::vector<Tree> trees(int count, int responses, int vocab, uint64_t seed) {
  std::mt19937_64 rng(seed);
  const auto ids = [&](int low, int high) {
    std::vector<int32_t> x(size_t(low + int(rng() % uint64_t(high - low + 1))));
    for (int32_t& t : x) t = int32_t(rng() % uint64_t(vocab));
    return x;
  };
  std::vector<Tree> out;
  for (int i = 0; i < count; ++i) {
    Tree tree{ids(3, 9), {}};
    for (int k = 0; k < responses; ++k) tree.responses.push_back(ids(1, 7));
    out.push_back(tree);
  }
  return out;
}

// shared: the prompt once with a child per response; else K complete sequences. last_only: rows of a reward model.
inline HostBatch pack(const std::vector<Tree>& trees, bool shared, bool last_only) {
  HostBatch b;
  b.cu_seqlens.push_back(0);
  const auto segment = [&](const std::vector<int32_t>& ids, int32_t parent) {
    b.tokens.insert(b.tokens.end(), ids.begin(), ids.end());
    b.cu_seqlens.push_back(int32_t(b.tokens.size()));
    b.parent.push_back(parent);
  };
  for (const Tree& tree : trees) {
    int32_t root = -1, last_of_prompt = 0;
    if (shared) {
      root = int32_t(b.parent.size());
      segment(tree.prompt, -1);
      last_of_prompt = int32_t(b.tokens.size()) - 1;
    }
    for (const auto& response : tree.responses) {
      if (shared) {
        segment(response, root);
      } else {
        std::vector<int32_t> whole = tree.prompt;
        whole.insert(whole.end(), response.begin(), response.end());
        segment(whole, -1);
        last_of_prompt = int32_t(b.tokens.size() - response.size()) - 1;
      }
      const int32_t first = int32_t(b.tokens.size() - response.size());
      if (last_only) {
        b.rows.push_back(int32_t(b.tokens.size()) - 1);
        continue;
      }
      for (size_t t = 0; t < response.size(); ++t) {
        b.rows.push_back(t == 0 ? last_of_prompt : first + int32_t(t) - 1);
        b.targets.push_back(response[t]);
      }
    }
  }
  return b;
}

inline std::vector<float> all(Trainer& trainer) {
  std::vector<float> g;
  for (const ParameterInfo& p : trainer.model()->parameters()) {
    const std::vector<float> x = trainer.gradient(p.name);
    g.insert(g.end(), x.begin(), x.end());
  }
  return g;
}

inline double relative_l2(const std::vector<float>& a, const std::vector<float>& b) {
  double diff = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    diff += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    norm += double(b[i]) * b[i];
  }
  return std::sqrt(diff / (norm + 1e-30));
}

}  // namespace toy
