// Samples of generators for their tests.
#pragma once

#include <gtest/gtest.h>

#include "test/native/model/toy.h"

namespace toy {

struct Drawn {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  Finish finish = Finish::kLive;
  bool operator==(const Drawn&) const = default;
};

// A request of one sample, whose number also gives its seed.
inline StartRequest one(const std::vector<int32_t>& prompt, int32_t slot, int32_t number, const Sampling& sampling,
                        int32_t cached = 0, int32_t cached_in = 0) {
  return {.tokens = prompt,
          .cu_seqlens = {0, int32_t(prompt.size())},
          .cached = {cached},
          .cached_in = {cached_in},
          .prompt_of = {0},
          .slots = {slot},
          .seeds = {number, 3},
          .sample_index = {number},
          .max_new_tokens = {8},
          .sampling = {sampling},
          .sampling_of = {0}};
}

// Of a model that may be an adapter.
inline StartRequest under(const std::shared_ptr<const Model>& model, StartRequest q) {
  if (&model->base() == model.get()) return q;
  q.adapters = {model};
  q.adapter_of.assign(q.cu_seqlens.size() - 1, 0);
  return q;
}

// Appends what was decoded for the slot.
inline void append(Drawn& to, const Decoded& d, int32_t slot) {
  EXPECT_TRUE(d.stale.empty());
  size_t at = 0;
  for (size_t b = 0; b < d.slots.size(); at += size_t(d.counts[b++])) {
    if (d.slots[b] != slot) continue;
    to.tokens.insert(to.tokens.end(), &d.tokens[at], &d.tokens[at] + d.counts[b]);
    to.logprobs.insert(to.logprobs.end(), &d.logprobs[at], &d.logprobs[at] + d.counts[b]);
    to.finish = d.finished[b];
  }
}

inline Drawn alone(const std::shared_ptr<Model>& m, const StartRequest& q) {
  Generator g(Model::base_of(m), {.slots = q.slots[0] + 1, .max_length = 40});
  Drawn out;
  append(out, g.start(under(m, q)), q.slots[0]);
  while (out.finish == Finish::kLive) append(out, g.run(3, q.slots), q.slots[0]);
  return out;
}

inline const Sampling kSettings[] = {{.stop_tokens = {5, 9}},
                                     {.temperature = 0, .stop_tokens = {1, 2, 3}},
                                     {.temperature = 0.5f, .top_k = 3, .stop_tokens = {}},
                                     {.temperature = 2, .top_p = 0.4f, .stop_tokens = {30}}};

inline std::vector<int32_t> numbered(int32_t first, int32_t count) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back((first + 5 * i * i) % 37);
  return ids;
}

}  // namespace toy
