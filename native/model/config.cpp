#include "native/model/config.h"

#include "native/core/error.h"

namespace heed {

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
  if (architecture == Architecture::kGpt2) {
    require(num_kv_heads == num_heads, "numKvHeads is ", num_kv_heads, ", GPT-2 has as many as numHeads (", num_heads,
            ")");
    require(num_heads * head_dim == channels, "numHeads (", num_heads, ") x headDim (", head_dim, ") is not channels (",
            channels, ")");
  } else {
    require(head_dim % 2 == 0, "headDim is ", head_dim, ", rotary positions need an even number");
    require(rope_theta > 1, "ropeTheta is ", rope_theta, ", expected more than 1");
  }
}

}  // namespace heed
