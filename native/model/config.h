// What a model is: its architecture and sizes.
#pragma once

#include <cstdint>

namespace heed {

enum class Architecture { kGpt2, kLlama };
enum class Head { kLanguage, kScalar };

struct ModelConfig {
  Architecture architecture = Architecture::kGpt2;
  Head head = Head::kLanguage;
  int64_t num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t channels = 0, mlp_channels = 0, vocab = 0, max_positions = 0;
  float norm_eps = 1e-5f;
  double rope_theta = 10000;  // Llama
  bool tied_head = true;

  int64_t padded_vocab() const { return (vocab + 63) / 64 * 64; }
  int64_t qkv_cols() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
  int64_t attention_cols() const { return num_heads * head_dim; }

  void check() const;  // throws Error(InvalidArgument) naming the field
};

}  // namespace heed
