// Batched decoding with a key/value cache.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "native/model/cache.h"
#include "native/model/mix.h"

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
  std::vector<std::shared_ptr<const Model>> adapters = {};  // to the generator's model
  std::vector<int32_t> adapter_of = {};                     // (P) an index into `adapters`, or -1: the model itself
  std::vector<int32_t> prompt_of;                           // (n) the prompt of each new sample
  std::vector<int32_t> slots;                               // (n) free slots
  std::vector<int32_t> seeds;                               // (n, 2)
  std::vector<int32_t> sample_index;                        // (n)
  std::vector<int32_t> max_new_tokens;                      // (n)
  std::vector<Sampling> sampling;                           // the samples' settings, each once
  std::vector<int32_t> sampling_of;                         // (n) an index into `sampling`
};

enum class Finish : uint8_t { kLive = 0, kStop = 1, kLength = 2 };

struct Decoded {
  std::vector<int32_t> slots, counts;  // (B)
  std::vector<int32_t> tokens;         // Σ counts, slot by slot
  std::vector<float> logprobs;         // Σ counts
  std::vector<Finish> finished;        // (B)
  std::vector<int32_t> stale;          // these slots were emptied, and nothing else was done: see Generator
};

// A response depends only on its prompt, adapter, seed, sample index and settings, not on its slot or on the other
// slots, nor on which part of its prompt was in the cache. What a slot holds was computed with the parameters of the
// model and an adapter; when they have changed since, or the adapter is gone, the next call empties it, says so, and
// does nothing else.
class Generator {
 public:
  // A model that is no adapter: samples name theirs.
  Generator(std::shared_ptr<const Model> model, const GeneratorOptions& options);

  const std::shared_ptr<Engine>& engine() const { return model_->engine(); }

  // Prefills each prompt once and samples the first token of each sample.
  Decoded start(const StartRequest& request);
  // Part of a prompt ahead of its start: computes `tokens`, which follow the first `begin` ones in a free slot, under
  // an adapter, or none.
  Decoded prefill(int64_t slot, const std::vector<int32_t>& tokens, int64_t begin,
                  std::shared_ptr<const Model> adapter = nullptr);
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
    std::weak_ptr<const Model> model;  // with which they are computed, at this version
    int64_t version = 0;
    std::shared_ptr<const Sampling> sampling;
  };
  struct Prompt {
    std::shared_ptr<const Model> model;
    const int32_t* tokens;
    int32_t length;
    int32_t cached, cached_in;
    std::vector<int32_t> slots;  // of its samples; the prompt is computed in the first one
  };

  std::vector<int32_t> empty_stale();  // the slots that it emptied
  void check_adapter(const Model* adapter) const;
  std::shared_ptr<const Model> model_of(const StartRequest& request, size_t prompt) const;
  bool holds(const Slot& slot, const Model& model) const { return slot.model.lock().get() == &model; }
  void check(const StartRequest& request) const;
  // Prefills prompts in one pass and samples the first token of each sample.
  void prefill_whole(const std::vector<Prompt>& prompts);
  // The same for prompts that begin in the cache or have more tokens than a pass: they attend to the cache.
  void prefill_rest(const std::vector<Prompt>& prompts);
  struct Token {
    const Model* model;
    int32_t token, position, slot;
    const Prompt* ends;  // the prompt of which it is the last token
  };
  void prefill_tokens(const std::vector<Token>& tokens);
  // A pass of tokens that attend to the cache, after which the prompts that end in it are drawn from.
  void prefill_pass(const Token* tokens, int64_t count);
  void copy_in_cache(Backend& b, Arena& arena, const std::vector<int32_t>& from, const std::vector<int32_t>& to,
                     const std::vector<int32_t>& lengths) const;
  // The next token of each listed slot, in one pass that a device may record.
  void decode(const std::vector<int32_t>& slots);
  // The number of a step's ops, by models and their rows.
  uint64_t kind_of(const std::vector<MixPart>& parts);

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

  std::shared_ptr<const Model> model_;
  GeneratorOptions options_;
  KvCache cache_;
  RepeatedSteps steps_;
  std::map<std::vector<uint64_t>, uint64_t> kinds_;
  uint64_t last_kind_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace heed
