#include "native/model/generate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "native/model/transformer.h"
#include "native/model/work.h"

namespace heed {
namespace {

const GeneratorOptions& checked(const ModelConfig& config, const GeneratorOptions& o) {
  require(config.head == Head::kLanguage, "generate needs a language model, but this model has a scalar head");
  require(o.slots >= 1 && o.slots <= 1 << 16, "slots is ", o.slots, ", expected 1 to 65536");
  require(o.max_length >= 1 && o.max_length <= config.max_positions, "prompt and response have up to ", o.max_length,
          " tokens, expected at most the model's ", config.max_positions);
  require(o.temperature == 0 || (o.temperature >= op::kMinTemperature && std::isfinite(o.temperature)),
          "temperature is ", o.temperature, ", expected 0 or at least ", op::kMinTemperature);
  require(o.top_k >= 0, "topK is ", o.top_k, ", expected 0 (off) or more");
  require(o.top_p > 0 && o.top_p <= 1, "topP is ", o.top_p, ", expected more than 0 and at most 1");
  for (const int32_t t : o.stop_tokens)
    require(t >= 0 && t < config.vocab, "a stop token is ", t, ", expected an id below the vocabulary's ",
            config.vocab);
  return o;
}

}  // namespace

Generator::Generator(std::shared_ptr<Model> model, const GeneratorOptions& options)
    : model_(std::move(model)),
      options_(checked(model_->config(), options)),
      cache_(*model_->engine(), model_->config(), options_.slots, options_.max_length),
      steps_(model_->engine()->backend()),
      slots_(size_t(options_.slots)) {}

void Generator::check(const StartRequest& q) const {
  const size_t n = q.slots.size();
  require(
      q.prompt_of.size() == n && q.sample_index.size() == n && q.max_new_tokens.size() == n && q.seeds.size() == 2 * n,
      "promptOf, slots, seeds, sampleIndex and maxNewTokens must have one entry per sample");
  require(!q.cu_seqlens.empty(), "cuSeqlens is empty");
  const size_t prompts = q.cu_seqlens.size() - 1;
  const auto length_of = [&](size_t p) { return int64_t{q.cu_seqlens[p + 1]} - q.cu_seqlens[p]; };
  for (size_t p = 0; p < prompts; ++p)
    require(length_of(p) >= 1, "prompt ", p, " has ", length_of(p), " tokens, expected at least one");
  require(q.cu_seqlens.front() == 0, "cuSeqlens starts with ", q.cu_seqlens.front(), ", expected 0");
  require(q.cu_seqlens.back() == int64_t(q.tokens.size()), "cuSeqlens ends with ", q.cu_seqlens.back(),
          ", expected the number of tokens, ", q.tokens.size());
  require_ids("token", q.tokens, model_->config().vocab);

  std::vector<bool> taken(slots_.size());
  for (size_t i = 0; i < n; ++i) {
    require(q.slots[i] >= 0 && q.slots[i] < options_.slots, "slot ", q.slots[i], ", expected a slot below ",
            options_.slots);
    require(!slots_[size_t(q.slots[i])].live && !taken[size_t(q.slots[i])], "slot ", q.slots[i], " is not free");
    taken[size_t(q.slots[i])] = true;
    require(q.prompt_of[i] >= 0 && size_t(q.prompt_of[i]) < prompts, "sample ", i, " has prompt ", q.prompt_of[i],
            ", expected an index below ", prompts);
    const int64_t length = length_of(size_t(q.prompt_of[i]));
    require(q.max_new_tokens[i] >= 1, "maxNewTokens is ", q.max_new_tokens[i], ", expected 1 or more");
    require(length + q.max_new_tokens[i] <= options_.max_length, "prompt ", q.prompt_of[i], " has ", length,
            " tokens and asks for ", q.max_new_tokens[i], " more, expected at most ", options_.max_length, " together");
  }
}

Decoded Generator::start(const StartRequest& q) {
  check(q);
  std::vector<Prompt> prompts;
  for (size_t p = 0; p + 1 < q.cu_seqlens.size(); ++p)
    prompts.push_back({q.tokens.data() + q.cu_seqlens[p], q.cu_seqlens[p + 1] - q.cu_seqlens[p], {}});
  for (size_t i = 0; i < q.slots.size(); ++i) {
    Prompt& prompt = prompts[size_t(q.prompt_of[i])];
    prompt.slots.push_back(q.slots[i]);
    slots_[size_t(q.slots[i])] = {.position = prompt.length - 1,
                                  .seed = {q.seeds[2 * i], q.seeds[2 * i + 1]},
                                  .sample_index = q.sample_index[i],
                                  .remaining = q.max_new_tokens[i]};
  }

  const int64_t max_tokens = engine()->max_tokens();
  std::vector<Prompt> together;
  int64_t tokens = 0;
  const auto prefill_together = [&] {
    if (!together.empty()) prefill(together);
    together.clear();
    tokens = 0;
  };
  for (const Prompt& prompt : prompts) {
    if (prompt.slots.empty()) continue;
    if (prompt.length > max_tokens) {
      prefill_in_pieces(prompt);
      continue;
    }
    if (tokens + prompt.length > max_tokens) prefill_together();
    together.push_back(prompt);
    tokens += prompt.length;
  }
  prefill_together();

  Decoded out;
  out.slots = q.slots;
  for (const int32_t s : q.slots) {
    Slot& slot = slots_[size_t(s)];
    out.counts.push_back(1);
    out.tokens.push_back(slot.token);
    out.logprobs.push_back(slot.logprob);
    out.finished.push_back(accept(slot));
  }
  return out;
}

void Generator::prefill(const std::vector<Prompt>& prompts) {
  HostBatch host;
  std::vector<int32_t> token_slots, rows, slots;
  host.cu_seqlens.push_back(0);
  for (const Prompt& prompt : prompts) {
    host.tokens.insert(host.tokens.end(), prompt.tokens, prompt.tokens + prompt.length);
    host.cu_seqlens.push_back(int32_t(host.tokens.size()));
    host.parent.push_back(-1);
    token_slots.insert(token_slots.end(), size_t(prompt.length), prompt.slots[0]);
    rows.insert(rows.end(), prompt.slots.size(), int32_t(host.tokens.size()) - 1);
    slots.insert(slots.end(), prompt.slots.begin(), prompt.slots.end());
  }
  const HostBatch::Pass everything{0, int64_t(prompts.size()), 0, int64_t(host.tokens.size()), 0, 0};
  engine()->run([&](Backend& b, Arena& arena) {
    Batch batch = upload(b, arena, host, everything);
    batch.cache = &cache_;
    batch.slots = upload_vector(b, arena, token_slots.data(), int64_t(token_slots.size()));
    const PassContext pass{b, arena, *model_, batch};
    const TrunkActs acts = trunk_forward(pass, false);
    copy_to_samples(pass, prompts);
    draw_first(pass, acts.out(), rows, slots);
  });
}

void Generator::prefill_in_pieces(const Prompt& prompt) {
  const int32_t most = int32_t(engine()->max_tokens());
  for (int32_t begin = 0; begin < prompt.length; begin += most) {
    const int32_t n = std::min(most, prompt.length - begin);
    const std::vector<int32_t> tokens(prompt.tokens + begin, prompt.tokens + begin + n),
        slots(size_t(n), prompt.slots[0]);
    std::vector<int32_t> positions(static_cast<size_t>(n));
    std::iota(positions.begin(), positions.end(), begin);
    engine()->run([&](Backend& b, Arena& arena) {
      const auto uploaded = [&](const std::vector<int32_t>& v) { return upload_vector(b, arena, v.data(), n); };
      Batch batch = cached(uploaded(tokens), uploaded(positions), uploaded(slots));
      batch.host_positions = positions;
      const PassContext pass{b, arena, *model_, batch};
      const TrunkActs acts = trunk_forward(pass, false);
      if (begin + n < prompt.length) return;
      copy_to_samples(pass, {prompt});
      draw_first(pass, acts.out(), std::vector<int32_t>(prompt.slots.size(), n - 1), prompt.slots);
    });
  }
}

Decoded Generator::run(int64_t steps) {
  require(steps >= 1, "steps is ", steps, ", expected 1 or more");
  Decoded out;
  for (size_t s = 0; s < slots_.size(); ++s)
    if (slots_[s].live) out.slots.push_back(int32_t(s));
  const size_t B = out.slots.size(), most = size_t(engine()->max_tokens());
  out.finished.assign(B, Finish::kLive);

  std::vector<std::vector<int32_t>> tokens(B);
  std::vector<std::vector<float>> logprobs(B);
  bool finished = B == 0;
  for (int64_t step = 0; step < steps && !finished; ++step) {
    for (size_t i = 0; i < B; i += most)
      decode({out.slots.begin() + int64_t(i), out.slots.begin() + int64_t(std::min(i + most, B))});
    for (size_t i = 0; i < B; ++i) {
      Slot& slot = slots_[size_t(out.slots[i])];
      tokens[i].push_back(slot.token);
      logprobs[i].push_back(slot.logprob);
      out.finished[i] = accept(slot);
      finished |= out.finished[i] != Finish::kLive;
    }
  }
  for (size_t i = 0; i < B; ++i) {
    out.counts.push_back(int32_t(tokens[i].size()));
    out.tokens.insert(out.tokens.end(), tokens[i].begin(), tokens[i].end());
    out.logprobs.insert(out.logprobs.end(), logprobs[i].begin(), logprobs[i].end());
  }
  return out;
}

void Generator::decode(const std::vector<int32_t>& slots) {
  const int64_t n = int64_t(slots.size());
  std::vector<int32_t> inputs = random(slots);
  for (const int32_t s : slots) inputs.push_back(slots_[size_t(s)].token);
  std::vector<int32_t> positions;
  for (const int32_t s : slots) positions.push_back(slots_[size_t(s)].position);
  inputs.insert(inputs.end(), positions.begin(), positions.end());
  inputs.insert(inputs.end(), slots.begin(), slots.end());
  engine()->run([&](Backend& b, Arena& arena) {
    const Tensor all = upload_vector(b, arena, inputs.data(), 7 * n), drawn = arena.take(DType::i32, 2 * n);
    const bool called = b.repeat(steps_.key(all.data, n), [&] {
      Batch batch = cached(all.slice(4 * n, n), all.slice(5 * n, n), all.slice(6 * n, n));
      batch.host_positions = positions;
      batch.distinct_slots = true;
      const PassContext pass{b, arena, *model_, batch};
      draw(pass, trunk_forward(pass, false).out(), {}, all.slice(0, 4 * n), drawn);
    });
    if (!called) {
      const ModelConfig& c = model_->config();
      engine()->count_tokens(n);
      engine()->count_multiply_adds(trunk_multiply_adds(c, positions) + adapter_multiply_adds(model_->params(), n) +
                                    head_multiply_adds(c, n));
    }
    take_drawn(b, drawn, slots);
  });
}

Batch Generator::cached(Tensor tokens, Tensor positions, Tensor slots) const {
  Batch batch;
  batch.tokens = tokens;
  batch.positions = positions;
  batch.slots = slots;
  batch.cache = &cache_;
  batch.decode = true;
  return batch;
}

void Generator::copy_to_samples(const PassContext& pass, const std::vector<Prompt>& prompts) {
  std::vector<int32_t> from, to, lengths;
  for (const Prompt& prompt : prompts)
    for (size_t i = 1; i < prompt.slots.size(); ++i) {
      from.push_back(prompt.slots[0]);
      to.push_back(prompt.slots[i]);
      lengths.push_back(prompt.length);
    }
  if (from.empty()) return;
  const auto uploaded = [&](const std::vector<int32_t>& values) {
    return upload_vector(pass.backend, pass.arena, values.data(), int64_t(values.size()));
  };
  const Tensor from_slots = uploaded(from), to_slots = uploaded(to), copied = uploaded(lengths);
  for (int64_t l = 0; l < pass.config().num_layers; ++l)
    pass.backend.run(op::CacheCopy{.keys = cache_.keys(l),
                                   .values = cache_.values(l),
                                   .from = from_slots,
                                   .to = to_slots,
                                   .lengths = copied,
                                   .num_kv_heads = pass.config().num_kv_heads,
                                   .head_dim = pass.config().head_dim});
}

std::vector<int32_t> Generator::random(const std::vector<int32_t>& slots) const {
  std::vector<int32_t> pairs;
  for (const int32_t s : slots) pairs.insert(pairs.end(), slots_[size_t(s)].seed, slots_[size_t(s)].seed + 2);
  for (const int32_t s : slots)
    pairs.insert(pairs.end(), {slots_[size_t(s)].sample_index, slots_[size_t(s)].position + 1});
  return pairs;
}

void Generator::draw_first(const PassContext& pass, Tensor trunk_out, const std::vector<int32_t>& rows,
                           const std::vector<int32_t>& slots) {
  const int64_t n = int64_t(slots.size());
  std::vector<int32_t> inputs = random(slots);
  inputs.insert(inputs.end(), rows.begin(), rows.end());
  const Tensor all = upload_vector(pass.backend, pass.arena, inputs.data(), 5 * n),
               drawn = pass.arena.take(DType::i32, 2 * n);
  draw(pass, trunk_out, all.slice(4 * n, n), all.slice(0, 4 * n), drawn);
  take_drawn(pass.backend, drawn, slots);
}

void Generator::draw(const PassContext& pass, Tensor trunk_out, Tensor rows, Tensor random, Tensor drawn) const {
  const int64_t all = drawn.rows / 2, chunk = pass.backend.logits_rows(pass.config().padded_vocab());
  const auto pairs = [&](int64_t begin, int64_t n) {
    Tensor t = random.slice(2 * begin, 2 * n);
    t.rows = n;
    t.cols = 2;
    return t;
  };
  for (int64_t first = 0; first < all; first += chunk) {
    const Arena::Scope scope(pass.arena);
    const int64_t n = std::min(chunk, all - first);
    Tensor logprobs = drawn.slice(all + first, n);
    logprobs.dtype = DType::f32;
    pass.backend.run(op::Sample{.tokens = drawn.slice(first, n),
                                .logprobs = logprobs,
                                .logits = rows.rows == 0
                                              ? language_logits(pass, trunk_out.slice(first, n))
                                              : language_head_forward(pass, trunk_out, rows.slice(first, n)).out,
                                .seeds = pairs(first, n),
                                .counters = pairs(all + first, n),
                                .vocab = pass.config().vocab,
                                .temperature = options_.temperature,
                                .top_k = options_.top_k,
                                .top_p = options_.top_p});
  }
}

void Generator::take_drawn(Backend& b, Tensor drawn, const std::vector<int32_t>& slots) {
  if (b.measuring()) return;
  std::vector<int32_t> values(static_cast<size_t>(drawn.rows));
  b.download(values.data(), drawn);
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& slot = slots_[size_t(slots[i])];
    slot.token = values[i];
    slot.logprob = std::bit_cast<float>(values[slots.size() + i]);
  }
}

Finish Generator::accept(Slot& slot) const {
  ++slot.position;
  --slot.remaining;
  const auto& stop = options_.stop_tokens;
  const Finish finish = std::find(stop.begin(), stop.end(), slot.token) != stop.end() ? Finish::kStop
                        : slot.remaining == 0                                         ? Finish::kLength
                                                                                      : Finish::kLive;
  slot.live = finish == Finish::kLive;
  return finish;
}

void Generator::release(const std::vector<int32_t>& slots) {
  for (const int32_t s : slots) {
    require(s >= 0 && s < options_.slots, "slot ", s, " is not below ", options_.slots);
    slots_[size_t(s)].live = false;
  }
}

}  // namespace heed
