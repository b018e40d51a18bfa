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
  require(
      !c.names.qkv_by_head || (c.names.qkv.size() == 1 && c.layout == Layout::kOutIn && c.num_kv_heads == c.num_heads),
      "names.qkvByHead needs one matrix stored (out, in), with as many key/value heads as heads");
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
  require(std::isfinite(norm_offset), "normOffset is ", norm_offset, ", expected a finite number");
  require(norm_offset == 0 || norm == Norm::kRms, "normOffset is ", norm_offset, ", expected 0 for a LayerNorm");
  require(pre_norm || post_norm, "preNorm and postNorm are both false, expected one of them");
  require(!parallel_residual || (pre_norm && !post_norm), "parallelResidual needs preNorm without postNorm");
  require(embedding_scale > 0 && std::isfinite(embedding_scale), "embeddingScale is ", embedding_scale,
          ", expected a positive number");
  require(embedding_scale == 1 || rotary(), "embeddingScale is ", embedding_scale,
          ", expected 1 beside learned positions");
  const auto check_frequencies = [&](const char* name, const std::vector<double>& frequencies) {
    require(int64_t(frequencies.size()) <= head_dim / 2, name, " has ", frequencies.size(),
            " entries, expected at most half of headDim, ", head_dim / 2);
    for (const double frequency : frequencies)
      require(std::isfinite(frequency), name, " has ", frequency, ", expected finite numbers");
  };
  check_frequencies("ropeFrequencies", rope_frequencies);
  check_frequencies("windowRopeFrequencies", window_rope_frequencies);
  const auto check_factor = [](const char* name, double factor) {
    require(factor > 0 && std::isfinite(factor), name, " is ", factor, ", expected a positive number");
  };
  check_factor("ropeFactor", rope_factor);
  check_factor("windowRopeFactor", window_rope_factor);
  require(rotary() || (window_rope_frequencies.empty() && no_rope_layers.empty()),
          "windowRopeFrequencies and noRopeLayers need rotary positions");
  for (const int32_t layer : no_rope_layers) in_range("an entry of noRopeLayers", layer, 0, num_layers - 1);
  in_range("positionOffset", position_offset, 0, rotary() ? 0 : 1 << 16);
  in_range("slidingWindow", sliding_window, 0, int64_t{1} << 31);
  for (const int32_t layer : full_layers) in_range("an entry of fullLayers", layer, 0, num_layers - 1);
  const auto not_negative = [](const char* name, float value) {
    require(value >= 0 && std::isfinite(value), name, " is ", value, ", expected 0 or a positive number");
  };
  not_negative("attentionScale", attention_scale);
  not_negative("attentionSoftcap", attention_softcap);
  not_negative("logitSoftcap", logit_softcap);
  if (gated_mlp)
    require(activation == Activation::kSilu || activation == Activation::kGeluTanh,
            "activation must be silu or gelu_tanh in a gated MLP");
  else
    require(activation != Activation::kSilu, "activation must be gelu, gelu_tanh or relu in a plain MLP");
  check_names(*this);
}

}  // namespace heed
