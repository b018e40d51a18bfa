// Batched decoding over a key/value cache.
#pragma once

#include <memory>
#include <vector>

#include "native/model/cache.h"
#include "native/model/model.h"

namespace heed {

struct GeneratorOptions {
  int64_t slots = 1;
  int64_t max_length = 0;  // prompt + response, tokens
  float temperature = 1;   // 0: greedy
  int64_t top_k = 0;       // 0: off
  float top_p = 1;         // 1: off
  std::vector<int32_t> stop_tokens;
};

struct StartRequest {
  std::vector<int32_t> tokens, cu_seqlens;  // prompts end to end, (P + 1)
  std::vector<int32_t> prompt_of;           // (n) the prompt of each new sample
  std::vector<int32_t> slots;               // (n) free slots
  std::vector<int32_t> seeds;               // (n, 2)
  std::vector<int32_t> sample_index;        // (n)
  std::vector<int32_t> max_new_tokens;      // (n)
};

enum class Finish : uint8_t { kLive = 0, kStop = 1, kLength = 2 };

struct Decoded {
  std::vector<int32_t> slots, counts;  // (B)
  std::vector<int32_t> tokens;         // Σ counts, slot by slot
  std::vector<float> logprobs;         // Σ counts
  std::vector<Finish> finished;        // (B)
};

// A response depends on its prompt, seed and sample index alone, not on slots or on what else is in them.
class Generator {
 public:
  Generator(std::shared_ptr<Model> model, const GeneratorOptions& options);

  const std::shared_ptr<Engine>& engine() const { return model_->engine(); }

  // Prefills each prompt once and draws every sample's first token.
  Decoded start(const StartRequest& request);
  // Draws up to `steps` tokens in every live slot; returns after the step in which a slot finishes.
  Decoded run(int64_t steps);
  void release(const std::vector<int32_t>& slots);

 private:
  struct Slot {
    bool live = false;
    int32_t token = 0;     // the last one drawn, not yet in the cache
    int32_t position = 0;  // of `token`
    int32_t seed[2] = {0, 0};
    int32_t sample_index = 0;
    int32_t remaining = 0;  // tokens it may still draw
  };

  void check(const StartRequest& request) const;
  // Draws a token for each listed slot from its logits row; positions[i] is the drawn token's.
  void sample(Backend& b, Arena& arena, const Tensor& logits, const std::vector<int32_t>& seeds,
              const std::vector<int32_t>& counters, int32_t* tokens, float* logprobs);
  Finish accept(Slot& slot, int32_t token);

  std::shared_ptr<Model> model_;
  GeneratorOptions options_;
  KvCache cache_;
  std::vector<Slot> slots_;
};

}  // namespace heed
