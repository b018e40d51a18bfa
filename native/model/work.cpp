#include "native/model/work.h"

#include <algorithm>

namespace heed {

namespace {

int64_t weights_of(const ModelConfig& c) {
  return c.channels * (c.qkv_cols() + c.attention_cols() + c.up_cols() + c.mlp_channels);
}

}  // namespace

int64_t trunk_multiply_adds(const ModelConfig& c, const std::vector<int32_t>& positions) {
  const int64_t weights = weights_of(c);
  int64_t pairs = 0, pairs_in_window = 0;  // of a query and a key that it attends to
  for (const int64_t position : positions) {
    pairs += position + 1;
    pairs_in_window += c.sliding_window == 0 ? position + 1 : std::min(position + 1, c.sliding_window);
  }
  int64_t sum = 0;
  for (int64_t l = 0; l < c.num_layers; ++l) {
    sum += int64_t(positions.size()) * weights;
    sum +=
        (c.window(l) == 0 ? pairs : pairs_in_window) * 2 * c.attention_cols();  // a score, and its part of the output
  }
  return sum;
}

int64_t trunk_backward_multiply_adds(const ModelConfig& c, const std::vector<int32_t>& positions, bool frozen) {
  const int64_t frozen_products = frozen ? c.num_layers * int64_t(positions.size()) * weights_of(c) : 0;
  return kBackward * trunk_multiply_adds(c, positions) - frozen_products;
}

int64_t adapter_multiply_adds(const Params& params, int64_t tokens) {
  int64_t sum = 0;
  const auto add = [&](const LinearParams& p) {
    for (const LowRank& adapter : p.adapters)
      sum += (adapter.num_rows < 0 ? tokens : adapter.num_rows) * (adapter.a.size() + adapter.b.size());
  };
  for (const BlockParams& block : params.blocks) {
    add(block.attention.qkv);
    add(block.attention.out);
    add(block.mlp.up);
    add(block.mlp.down);
  }
  return sum;
}

int64_t head_multiply_adds(const ModelConfig& c, int64_t rows) {
  return rows * c.channels * (c.head == Head::kScalar ? 1 : c.vocab);
}

}  // namespace heed
