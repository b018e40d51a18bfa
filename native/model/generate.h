// Batched decoding with a key/value cache.
#pragma once

#include <memory>
#include <vector>

#include "native/model/cache.h"
#include "native/model/pass.h"

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

// A response depends only on its prompt, seed and sample index, not on its slot or on the other slots.
class Generator {
 public:
  Generator(std::shared_ptr<Model> model, const GeneratorOptions& options);

  const std::shared_ptr<Engine>& engine() const { return model_->engine(); }

  // Prefills each prompt once and samples the first token of each sample.
  Decoded start(const StartRequest& request);
  // Samples up to `steps` tokens in every live slot; returns after the step in which a slot finishes.
  Decoded run(int64_t steps);
  void release(const std::vector<int32_t>& slots);

 private:
  struct Slot {
    bool live = false;
    int32_t token = 0;     // the last one sampled, not yet in the cache
    float logprob = 0;     // of `token`, nats
    int32_t position = 0;  // of `token`; at the start, of the prompt's last token
    int32_t seed[2] = {0, 0};
    int32_t sample_index = 0;
    int32_t remaining = 0;  // tokens that may still be sampled
  };
  struct Prompt {
    const int32_t* tokens;
    int32_t length;
    std::vector<int32_t> slots;  // of its samples; the prompt is computed in the first one
  };

  void check(const StartRequest& request) const;
  // Prefills prompts in one pass and samples the first token of each sample.
  void prefill(const std::vector<Prompt>& prompts);
  // The same for a prompt with more tokens than a pass: each part attends to the earlier ones in the cache.
  void prefill_in_pieces(const Prompt& prompt);
  // The next token of each listed slot, in one pass that a device may record.
  void decode(const std::vector<int32_t>& slots);

  // A pass of tokens that attend to the cache before their positions.
  Batch cached(Tensor tokens, Tensor positions, Tensor slots) const;
  void copy_to_samples(const PassContext& pass, const std::vector<Prompt>& prompts);
  // The slots' seeds, then their counters, as pairs: first in what is uploaded, since a pair is read at once.
  std::vector<int32_t> random(const std::vector<int32_t>& slots) const;
  // Samples the first token of each listed slot from a row of the trunk's output.
  void draw_first(const PassContext& pass, Tensor trunk_out, const std::vector<int32_t>& rows,
                  const std::vector<int32_t>& slots);
  // drawn (2 n): a token for each of the rows, or for every row of trunk_out; then their logprobs.
  void draw(const PassContext& pass, Tensor trunk_out, Tensor rows, Tensor random, Tensor drawn) const;
  void take_drawn(Backend& b, Tensor drawn, const std::vector<int32_t>& slots);
  Finish accept(Slot& slot) const;  // the token just sampled

  std::shared_ptr<Model> model_;
  GeneratorOptions options_;
  KvCache cache_;
  RepeatedSteps steps_;
  std::vector<Slot> slots_;
};

}  // namespace heed
