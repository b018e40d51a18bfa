// The configuration of a model: its sizes and features. TypeScript knows which features a family of checkpoints has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace heed {

enum class Head { kLanguage, kScalar };
enum class Norm { kLayer, kRms };  // LayerNorm has a bias, RMSNorm does not
enum class Activation { kGeluTanh, kGelu, kSilu };
enum class Layout { kInOut, kOutIn };  // how a weight matrix is stored: (in, out), or (out, in)

// Names of the parameters in files: module names, to which ".weight" and ".bias" are appended; "{}" stands for the
// layer's index. A list has one name if files store one matrix, and several if they store its parts separately.
struct ParameterNames {
  std::string embedding, positions;
  std::string attention_norm;
  std::vector<std::string> qkv;  // one, or queries, keys and values
  std::string attention_out, mlp_norm;
  std::vector<std::string> up;  // one, or gate and up
  std::string down, final_norm, language_head, scalar_head;
};

struct ModelConfig {
  Head head = Head::kLanguage;
  int64_t num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t channels = 0, mlp_channels = 0, vocab = 0, max_positions = 0;
  Norm norm = Norm::kLayer;
  float norm_eps = 1e-5f;
  std::vector<double> rope_frequencies;  // (D / 2) radians per position; empty: learned positions
  int64_t sliding_window = 0;            // positions that a token attends to, 0: all
  std::vector<int32_t> full_layers;      // without the window
  Activation activation = Activation::kGeluTanh;
  bool gated_mlp = false;  // down(activation(gate x) * up x), or down(activation(up x))
  bool qkv_bias = false, attention_out_bias = false, mlp_bias = false;
  Layout layout = Layout::kOutIn;  // of the weights in blocks; embeddings and heads are always (out, in)
  bool tied_head = true;
  ParameterNames names;

  bool rotary() const { return !rope_frequencies.empty(); }
  int64_t window(int64_t layer) const {
    return std::find(full_layers.begin(), full_layers.end(), layer) == full_layers.end() ? sliding_window : 0;
  }
  int64_t padded_vocab() const { return (vocab + 63) / 64 * 64; }
  int64_t qkv_cols() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
  int64_t attention_cols() const { return num_heads * head_dim; }
  int64_t up_cols() const { return (gated_mlp ? 2 : 1) * mlp_channels; }

  void check() const;  // throws Error(InvalidArgument) naming the field
};

}  // namespace heed
