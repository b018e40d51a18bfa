// Sampling the next token.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

constexpr float kMinTemperature = 1e-4f;

// temperature > 0: samples from softmax(logits / temperature) after top_k and then top_p (the smallest set of
// most likely remaining tokens whose probability reaches top_p); ties are kept in the order of their ids.
// temperature = 0: the most likely token, with the lowest id if several are equal. The uniform number of row b is a
// function of seeds[b] and counters[b] alone (math::sample_uniform): a response does not depend on the rest of the
// batch. What each row is sampled with is data, so that requests with different settings share a batch.
struct Sample {
  Out tokens;    // (B) i32
  Out logprobs;  // (B) f32 nats, before top_k and top_p: log_softmax(logits / temperature)[token], temperature 1 when
                 // greedy
  In logits;     // (B, Vp) f32 or bf16
  In seeds;      // (B, 2) i32: low and high half of the request's seed
  In counters;   // (B, 2) i32: the sample's index in the request, the sampled position
  In temperatures;  // (B) f32: 0, or at least kMinTemperature
  In top_k;         // (B) i32: 0 is off
  In top_p;         // (B) f32: in (0, 1], 1 is off
  int64_t vocab;
  void check() const;
};

}  // namespace heed::op
