#include "native/model/config.h"

#include <cmath>

#include "native/core/error.h"

namespace heed {
namespace {

void check_names(const ModelConfig& c) {
  const auto parts = [&](const char* name, size_t given, size_t several) {
    const bool can_be_cut = several > 1 && c.layout == Layout::kOutIn;  // parts must be whole rows
    require(given == 1 || (can_be_cut && given == several), "names.", name, " has ", given, " entries, expected 1",
            can_be_cut ? " or " + std::to_string(several) : "");
  };
  parts("qkv", c.names.qkv.size(), 3);
  parts("up", c.names.up.size(), c.gated_mlp ? 2 : 1);
}

}  // namespace

void ModelConfig::check() const {
  const auto in_range = [](const char* name, int64_t value, int64_t low, int64_t high) {
    require(value >= low && value <= high, name, " is ", value, ", expected ", low, " to ", high);
  };
  in_range("numLayers", num_layers, 1, 1024);
  in_range("numHeads", num_heads, 1, 1024);
  in_range("numKvHeads", num_kv_heads, 1, num_heads);
  in_range("headDim", head_dim, 1, 1024);
  in_range("channels", channels, 1, 1 << 16);
  in_range("mlpChannels", mlp_channels, 1, 1 << 20);
  in_range("vocabSize", vocab, 1, 1 << 22);
  in_range("maxPositions", max_positions, 1, 1 << 20);
  require(num_heads % num_kv_heads == 0, "numKvHeads is ", num_kv_heads, ", expected a divisor of numHeads (",
          num_heads, ")");
  require(norm_eps > 0 && norm_eps < 1, "normEps is ", norm_eps, ", expected a number between 0 and 1");
  if (rotary()) {
    require(head_dim % 2 == 0, "headDim is ", head_dim, ", expected an even number for rotary positions");
    require(int64_t(rope_frequencies.size()) == head_dim / 2, "ropeFrequencies has ", rope_frequencies.size(),
            " entries, expected half of headDim, ", head_dim / 2);
    for (const double frequency : rope_frequencies)
      require(std::isfinite(frequency), "ropeFrequencies has ", frequency, ", expected finite numbers");
  }
  in_range("slidingWindow", sliding_window, 0, int64_t{1} << 31);
  for (const int32_t layer : full_layers) in_range("an entry of fullLayers", layer, 0, num_layers - 1);
  require(gated_mlp == (activation == Activation::kSilu),
          "activation must be silu in a gated MLP, and gelu or gelu_tanh in a plain one");
  check_names(*this);
}

}  // namespace heed
