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
};

// How a sample's tokens are drawn, and which end it.
struct Sampling {
  float temperature = 1;  // 0: greedy
  int64_t top_k = 0;      // 0: off
  float top_p = 1;        // 1: off
  std::vector<int32_t> stop_tokens;
};

struct StartRequest {
  std::vector<int32_t> tokens, cu_seqlens;  // prompts end to end, (P + 1)
  std::vector<int32_t> cached;              // (P) so many of the prompt's first tokens are in the cache already,
  std::vector<int32_t> cached_in;           // (P) in this slot; not read where cached is 0
  std::vector<int32_t> prompt_of;           // (n) the prompt of each new sample
  std::vector<int32_t> slots;               // (n) free slots
  std::vector<int32_t> seeds;               // (n, 2)
  std::vector<int32_t> sample_index;        // (n)
  std::vector<int32_t> max_new_tokens;      // (n)
  std::vector<Sampling> sampling;           // the samples' settings, each once
  std::vector<int32_t> sampling_of;         // (n) an index into `sampling`
};

enum class Finish : uint8_t { kLive = 0, kStop = 1, kLength = 2 };

struct Decoded {
  std::vector<int32_t> slots, counts;  // (B)
  std::vector<int32_t> tokens;         // Σ counts, slot by slot
  std::vector<float> logprobs;         // Σ counts
  std::vector<Finish> finished;        // (B)
  bool stale = false;                  // nothing was done, and all slots are empty: see Generator
};

// A response depends only on its prompt, seed, sample index and settings, not on its slot or on the other slots, nor on
// which part of its prompt was in the cache. What the cache holds was computed with the model's parameters; when they
// have changed since, the next call empties all slots, says so, and does nothing else.
class Generator {
 public:
  Generator(std::shared_ptr<Model> model, const GeneratorOptions& options);

  const std::shared_ptr<Engine>& engine() const { return model_->engine(); }

  // Prefills each prompt once and samples the first token of each sample.
  Decoded start(const StartRequest& request);
  // Part of a prompt ahead of its start: computes `tokens`, which follow the first `begin` ones in a free slot.
  Decoded prefill(int64_t slot, const std::vector<int32_t>& tokens, int64_t begin);
  // Samples up to `steps` tokens in each of these live slots; returns after the step in which one finishes.
  Decoded run(int64_t steps, const std::vector<int32_t>& slots);
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
    int32_t cached = 0;     // positions of the cache that are filled; they stay so when the slot is free again
    std::shared_ptr<const Sampling> sampling;
  };
  struct Prompt {
    const int32_t* tokens;
    int32_t length;
    int32_t cached, cached_in;
    std::vector<int32_t> slots;  // of its samples; the prompt is computed in the first one
  };

  bool is_stale();  // whether the parameters have changed; then forgets all slots
  void check(const StartRequest& request) const;
  // Prefills prompts in one pass and samples the first token of each sample.
  void prefill_whole(const std::vector<Prompt>& prompts);
  // The same for prompts that begin in the cache or have more tokens than a pass: they attend to the cache.
  void prefill_rest(const std::vector<Prompt>& prompts);
  struct Token {
    int32_t token, position, slot;
    const Prompt* ends;  // the prompt of which it is the last token
  };
  // A pass of tokens that attend to the cache, after which the prompts that end in it are drawn from.
  void prefill_pass(const Token* tokens, int64_t count);
  void copy_in_cache(Backend& b, Arena& arena, const std::vector<int32_t>& from, const std::vector<int32_t>& to,
                     const std::vector<int32_t>& lengths) const;
  // The next token of each listed slot, in one pass that a device may record.
  void decode(const std::vector<int32_t>& slots);

  // A pass of tokens that attend to the cache before their positions.
  Batch cached(Tensor tokens, Tensor positions, Tensor slots) const;
  void copy_to_samples(const PassContext& pass, const std::vector<const Prompt*>& prompts);
  // Of the slots: seeds, then counters, as pairs, first in what is uploaded since a pair is read at once; then
  // temperatures, top_k and top_p. 7 n numbers.
  std::vector<int32_t> settings(const std::vector<int32_t>& slots) const;
  // Samples the first token of each listed slot from a row of the trunk's output.
  void draw_first(const PassContext& pass, Tensor trunk_out, const std::vector<int32_t>& rows,
                  const std::vector<int32_t>& slots);
  // drawn (2 n): a token for each of the rows, or for every row of trunk_out; then their logprobs.
  void draw(const PassContext& pass, Tensor trunk_out, Tensor rows, Tensor settings, Tensor drawn) const;
  void take_drawn(Backend& b, Tensor drawn, const std::vector<int32_t>& slots);
  Finish accept(Slot& slot) const;  // the token just sampled

  std::shared_ptr<Model> model_;
  GeneratorOptions options_;
  KvCache cache_;
  RepeatedSteps steps_;
  std::vector<Slot> slots_;
  int64_t version_;  // of the model's parameters, with which the cache was computed
};

}  // namespace heed
