// Adapters for the tests of models.
#pragma once

#include "test/native/model/toy.h"

namespace toy {

// Every linear layer of the blocks, or every second one; ranks and scales differ, and with `shift` between adapters.
inline std::vector<AdapterTarget> targets(const ModelConfig& c, bool all = true, int64_t shift = 0) {
  std::vector<AdapterTarget> list;
  int64_t count = 0;
  for (int64_t l = 0; l < c.num_layers; ++l) {
    std::vector<std::string> modules = c.names.qkv;
    modules.push_back(c.names.attention_out);
    for (const std::string& up : c.names.up) modules.push_back(up);
    modules.push_back(c.names.down);
    for (std::string& name : modules) {
      ++count;
      if (!all && count % 2 == 0) continue;
      name.replace(name.find("{}"), 2, std::to_string(l));
      list.push_back({name, 1 + (count + shift) % 3, 0.5f + 0.25f * float((count + shift) % 4)});
    }
  }
  return list;
}

// Parameters of an adapter that are not zero.
inline void scatter(Model& adapter, uint64_t seed) {
  adapter.initialize(seed);
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(0, 0.3f);
  adapter.visit_own([&](Tensor& t, const ParamSpec&) {
    std::vector<float> x(size_t(t.size()));
    adapter.engine()->backend().download_floats(x.data(), t);
    for (float& v : x) v += normal(rng);
    adapter.engine()->backend().upload_floats(t, x.data());
  });
}

// An adapter whose second factors are not zero.
inline std::shared_ptr<Model> adapter(std::shared_ptr<Model> base, Head head = Head::kLanguage, bool all = true,
                                      uint64_t seed = 5, int64_t shift = 0) {
  auto m = std::make_shared<Model>(base, head, targets(base->config(), all, shift));
  scatter(*m, seed);
  return m;
}

}  // namespace toy
