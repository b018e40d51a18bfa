// The configuration of a model: its sizes and features. TypeScript knows which features a family of checkpoints has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace heed {

enum class Head { kLanguage, kScalar };
enum class Norm { kLayer, kRms };  // LayerNorm has a bias, RMSNorm does not
enum class Activation { kGeluTanh, kGelu, kSilu, kRelu };
// What of the queries and of the keys a norm takes together: each head, or all heads.
enum class QkNormOf { kNothing, kHead, kAll };
enum class Layout { kInOut, kOutIn };  // how a weight matrix is stored: (in, out), or (out, in)

// Names of the parameters in files: module names, to which ".weight" and ".bias" are appended; "{}" stands for the
// layer's index. A list has one name if files store one matrix, and several if they store its parts separately.
struct ParameterNames {
  std::string embedding, positions;
  std::string attention_norm;
  std::vector<std::string> qkv;  // one, or queries, keys and values
  bool qkv_by_head = false;      // one matrix has the query, key and value of the first head, then of the second, …
  std::string q_norm, k_norm;
  std::string attention_out, attention_post_norm, mlp_norm;
  std::vector<std::string> up;  // one, or gate and up
  std::string down, mlp_post_norm, final_norm, language_head, scalar_head;
};

struct ModelConfig {
  Head head = Head::kLanguage;
  int64_t num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t channels = 0, mlp_channels = 0, vocab = 0, max_positions = 0;
  Norm norm = Norm::kLayer;
  float norm_eps = 1e-5f;
  float norm_offset = 0;           // added to the weights of RMSNorms
  bool pre_norm = true;            // norms before attention and MLP
  bool post_norm = false;          // norms of what they add to the residual stream
  bool parallel_residual = false;  // x + attention(norm(x)) + mlp(norm'(x)), or one after the other
  QkNormOf qk_norm = QkNormOf::kNothing;
  float embedding_scale = 1;             // of token embeddings
  std::vector<double> rope_frequencies;  // (R / 2) radians per position, R ≤ D channels; empty: learned positions
  std::vector<double> window_rope_frequencies;     // in layers with the window; empty: as in the others
  double rope_factor = 1, window_rope_factor = 1;  // of rotated queries and keys
  std::vector<int32_t> no_rope_layers;             // whose queries and keys know no positions
  int64_t position_offset = 0;                     // rows of learned positions in files before that of position 0
  int64_t sliding_window = 0;                      // positions that a token attends to, 0: all
  std::vector<int32_t> full_layers;                // without the window
  float attention_scale = 0;                       // of scores, 0: 1 / √D
  float attention_softcap = 0, logit_softcap = 0;  // bounds of scores and logits, 0: none
  Activation activation = Activation::kGeluTanh;
  bool gated_mlp = false;  // down(activation(gate x) * up x), or down(activation(up x))
  bool qkv_bias = false, attention_out_bias = false, mlp_bias = false;
  Layout layout = Layout::kOutIn;  // of the weights in blocks; embeddings and heads are always (out, in)
  bool tied_head = true;
  bool int8 = false;  // the weights of linear layers in blocks are frozen, of 8 bits
  ParameterNames names;

  bool rotary() const { return !rope_frequencies.empty(); }
  static bool is_in(const std::vector<int32_t>& layers, int64_t layer) {
    return std::find(layers.begin(), layers.end(), layer) != layers.end();
  }
  int64_t window(int64_t layer) const { return is_in(full_layers, layer) ? 0 : sliding_window; }
  // Radians per position in a layer; empty: its queries and keys are not rotated.
  const std::vector<double>& rope(int64_t layer) const {
    static const std::vector<double> none;
    if (is_in(no_rope_layers, layer)) return none;
    return window(layer) > 0 && !window_rope_frequencies.empty() ? window_rope_frequencies : rope_frequencies;
  }
  int64_t padded_vocab() const { return (vocab + 63) / 64 * 64; }
  int64_t qkv_cols() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
  int64_t attention_cols() const { return num_heads * head_dim; }
  int64_t up_cols() const { return (gated_mlp ? 2 : 1) * mlp_channels; }

  void check() const;  // throws Error(InvalidArgument) naming the field
};

}  // namespace heed
