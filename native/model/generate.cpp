#include "native/model/generate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "native/model/transformer.h"
#include "native/model/work.h"

namespace heed {
namespace {

const GeneratorOptions& checked(const Model& model, const GeneratorOptions& o) {
  const ModelConfig& config = model.config();
  require(&model.base() == &model, "the generator's model is an adapter, expected its base: samples name adapters");
  require(config.head == Head::kLanguage, "generate needs a language model, but this model has a scalar head");
  require(o.slots >= 1 && o.slots <= 1 << 16, "slots is ", o.slots, ", expected 1 to 65536");
  require(o.max_length >= 1 && o.max_length <= config.max_positions, "prompt and response have up to ", o.max_length,
          " tokens, expected at most the model's ", config.max_positions);
  return o;
}

void check_sampling(const Sampling& o, int64_t vocab) {
  require(o.temperature == 0 || (o.temperature >= op::kMinTemperature && std::isfinite(o.temperature)),
          "temperature is ", o.temperature, ", expected 0 or at least ", op::kMinTemperature);
  require(o.top_k >= 0, "topK is ", o.top_k, ", expected 0 (off) or more");
  require(o.top_p > 0 && o.top_p <= 1, "topP is ", o.top_p, ", expected more than 0 and at most 1");
  for (const int32_t t : o.stop_tokens)
    require(t >= 0 && t < vocab, "a stop token is ", t, ", expected an id below the vocabulary's ", vocab);
}

}  // namespace

Generator::Generator(std::shared_ptr<const Model> model, const GeneratorOptions& options)
    : model_(std::move(model)),
      options_(checked(*model_, options)),
      cache_(*model_->engine(), model_->config(), options_.slots, options_.max_length),
      steps_(model_->engine()->backend()),
      slots_(size_t(options_.slots)) {}

std::vector<int32_t> Generator::empty_stale() {
  std::vector<int32_t> emptied;
  for (size_t s = 0; s < slots_.size(); ++s) {
    Slot& slot = slots_[s];
    if (!slot.live && slot.cached == 0) continue;
    const auto model = slot.model.lock();
    if (model != nullptr && model->version() == slot.version) continue;
    slot = {};
    emptied.push_back(int32_t(s));
  }
  return emptied;
}

void Generator::check_adapter(const Model* adapter) const {
  require(adapter == nullptr || (adapter != model_.get() && &adapter->base() == model_.get()),
          "a sample's adapter is none to the generator's model");
  require(adapter == nullptr || adapter->config().head == Head::kLanguage,
          "generate needs a language model, but a sample's adapter has a scalar head");
}

std::shared_ptr<const Model> Generator::model_of(const StartRequest& q, size_t prompt) const {
  const int32_t adapter = q.adapter_of.empty() ? -1 : q.adapter_of[prompt];
  return adapter < 0 ? model_ : q.adapters[size_t(adapter)];
}

void Generator::check(const StartRequest& q) const {
  const size_t n = q.slots.size();
  require(q.prompt_of.size() == n && q.sample_index.size() == n && q.max_new_tokens.size() == n &&
              q.seeds.size() == 2 * n && q.sampling_of.size() == n,
          "promptOf, slots, seeds, sampleIndex, maxNewTokens and samplingOf must have one entry per sample");
  require(!q.cu_seqlens.empty(), "cuSeqlens is empty");
  const size_t prompts = q.cu_seqlens.size() - 1;
  require(q.cached.size() == prompts && q.cached_in.size() == prompts,
          "cached and cachedIn must have one entry per prompt");
  require(q.adapter_of.size() == prompts || q.adapter_of.empty(), "adapterOf must have one entry per prompt");
  for (const auto& adapter : q.adapters) check_adapter(adapter.get());
  for (size_t p = 0; p < q.adapter_of.size(); ++p)
    require(q.adapter_of[p] >= -1 && q.adapter_of[p] < int64_t(q.adapters.size()), "prompt ", p, " has adapter ",
            q.adapter_of[p], ", expected -1 or an index below ", q.adapters.size());
  const auto length_of = [&](size_t p) { return int64_t{q.cu_seqlens[p + 1]} - q.cu_seqlens[p]; };
  for (size_t p = 0; p < prompts; ++p)
    require(length_of(p) >= 1, "prompt ", p, " has ", length_of(p), " tokens, expected at least one");
  require(q.cu_seqlens.front() == 0, "cuSeqlens starts with ", q.cu_seqlens.front(), ", expected 0");
  require(q.cu_seqlens.back() == int64_t(q.tokens.size()), "cuSeqlens ends with ", q.cu_seqlens.back(),
          ", expected the number of tokens, ", q.tokens.size());
  require_ids("token", q.tokens, model_->config().vocab);
  for (const Sampling& sampling : q.sampling) check_sampling(sampling, model_->config().vocab);

  std::vector<bool> taken(slots_.size());
  for (size_t i = 0; i < n; ++i) {
    require(q.slots[i] >= 0 && q.slots[i] < options_.slots, "slot ", q.slots[i], ", expected a slot below ",
            options_.slots);
    require(!slots_[size_t(q.slots[i])].live && !taken[size_t(q.slots[i])], "slot ", q.slots[i], " is not free");
    taken[size_t(q.slots[i])] = true;
    require(q.prompt_of[i] >= 0 && size_t(q.prompt_of[i]) < prompts, "sample ", i, " has prompt ", q.prompt_of[i],
            ", expected an index below ", prompts);
    require(q.sampling_of[i] >= 0 && size_t(q.sampling_of[i]) < q.sampling.size(), "sample ", i, " has settings ",
            q.sampling_of[i], ", expected an index below ", q.sampling.size());
    const int64_t length = length_of(size_t(q.prompt_of[i]));
    require(q.max_new_tokens[i] >= 1, "maxNewTokens is ", q.max_new_tokens[i], ", expected 1 or more");
    require(length + q.max_new_tokens[i] <= options_.max_length, "prompt ", q.prompt_of[i], " has ", length,
            " tokens and asks for ", q.max_new_tokens[i], " more, expected at most ", options_.max_length, " together");
  }
  std::vector<bool> begun(prompts);
  for (size_t i = 0; i < n; ++i) {
    const size_t p = size_t(q.prompt_of[i]);
    if (q.cached[p] == 0 || begun[p]) continue;
    begun[p] = true;
    const int32_t from = q.cached_in[p];
    require(from >= 0 && from < options_.slots, "prompt ", p, " is in slot ", from, ", expected a slot below ",
            options_.slots);
    require(q.cached[p] > 0 && q.cached[p] < length_of(p) && q.cached[p] <= slots_[size_t(from)].cached, "prompt ", p,
            " has ", q.cached[p], " tokens in slot ", from, ", expected at most the slot's ",
            slots_[size_t(from)].cached, " and fewer than its own ", length_of(p));
    require(holds(slots_[size_t(from)], *model_of(q, p)), "prompt ", p, " is in slot ", from,
            ", which was computed under another adapter");
    require(!taken[size_t(from)] || from == q.slots[i], "prompt ", p, " is in slot ", from,
            ", which another sample takes");
  }
}

Decoded Generator::start(const StartRequest& q) {
  if (auto stale = empty_stale(); !stale.empty()) return {.stale = std::move(stale)};
  check(q);
  std::vector<Prompt> prompts;
  for (size_t p = 0; p + 1 < q.cu_seqlens.size(); ++p)
    prompts.push_back({model_of(q, p),
                       q.tokens.data() + q.cu_seqlens[p],
                       q.cu_seqlens[p + 1] - q.cu_seqlens[p],
                       q.cached[p],
                       q.cached_in[p],
                       {}});
  std::vector<std::shared_ptr<const Sampling>> sampling;
  for (const Sampling& each : q.sampling) sampling.push_back(std::make_shared<const Sampling>(each));
  for (size_t i = 0; i < q.slots.size(); ++i) {
    Prompt& prompt = prompts[size_t(q.prompt_of[i])];
    prompt.slots.push_back(q.slots[i]);
    slots_[size_t(q.slots[i])] = {.position = prompt.length - 1,
                                  .seed = {q.seeds[2 * i], q.seeds[2 * i + 1]},
                                  .sample_index = q.sample_index[i],
                                  .remaining = q.max_new_tokens[i],
                                  .model = prompt.model,
                                  .version = prompt.model->version(),
                                  .sampling = sampling[size_t(q.sampling_of[i])]};
  }
  std::stable_sort(prompts.begin(), prompts.end(),
                   [](const Prompt& a, const Prompt& b) { return a.model->id() < b.model->id(); });

  const int64_t max_tokens = engine()->max_tokens();
  std::vector<Prompt> together, rest;
  int64_t tokens = 0;
  const auto prefill_together = [&] {
    if (!together.empty()) prefill_whole(together);
    together.clear();
    tokens = 0;
  };
  for (const Prompt& prompt : prompts) {
    if (prompt.slots.empty()) continue;
    if (prompt.cached > 0 || prompt.length > max_tokens) {
      rest.push_back(prompt);
      continue;
    }
    if (tokens + prompt.length > max_tokens) prefill_together();
    together.push_back(prompt);
    tokens += prompt.length;
  }
  // First what is taken from other slots.
  if (!rest.empty()) prefill_rest(rest);
  prefill_together();

  Decoded out;
  out.slots = q.slots;
  for (const int32_t s : q.slots) {
    Slot& slot = slots_[size_t(s)];
    slot.cached = slot.position + 1;
    out.counts.push_back(1);
    out.tokens.push_back(slot.token);
    out.logprobs.push_back(slot.logprob);
    out.finished.push_back(accept(slot));
  }
  return out;
}

void Generator::prefill_whole(const std::vector<Prompt>& prompts) {
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
  std::vector<MixPart> parts;
  for (const Prompt& prompt : prompts) add_rows(parts, *prompt.model, prompt.length);
  const Mix mix(parts);
  engine()->run([&](Backend& b, Arena& arena) {
    Batch batch = upload(b, arena, host, everything);
    batch.cache = &cache_;
    batch.slots = upload_vector(b, arena, token_slots.data(), int64_t(token_slots.size()));
    const PassContext pass = mix.pass(b, arena, batch);
    const TrunkActs acts = trunk_forward(pass, false);
    std::vector<const Prompt*> all;
    for (const Prompt& prompt : prompts) all.push_back(&prompt);
    copy_to_samples(pass, all);
    draw_first(pass, acts.out(), rows, slots);
  });
}

void Generator::prefill_rest(const std::vector<Prompt>& prompts) {
  std::vector<int32_t> from, to, lengths;
  std::vector<Token> tokens;
  for (const Prompt& prompt : prompts) {
    const int32_t slot = prompt.slots[0];
    if (prompt.cached > 0 && prompt.cached_in != slot) {
      from.push_back(prompt.cached_in);
      to.push_back(slot);
      lengths.push_back(prompt.cached);
    }
    for (int32_t t = prompt.cached; t < prompt.length; ++t)
      tokens.push_back({prompt.model.get(), prompt.tokens[t], t, slot, t == prompt.length - 1 ? &prompt : nullptr});
  }
  if (!from.empty()) engine()->run([&](Backend& b, Arena& arena) { copy_in_cache(b, arena, from, to, lengths); });
  prefill_tokens(tokens);
}

void Generator::prefill_tokens(const std::vector<Token>& tokens) {
  const int64_t most = engine()->max_tokens(), all = int64_t(tokens.size());
  for (int64_t begin = 0; begin < all; begin += most) prefill_pass(&tokens[size_t(begin)], std::min(most, all - begin));
}

Decoded Generator::prefill(int64_t slot, const std::vector<int32_t>& ids, int64_t begin,
                           std::shared_ptr<const Model> adapter) {
  if (auto stale = empty_stale(); !stale.empty()) return {.stale = std::move(stale)};
  check_adapter(adapter.get());
  const std::shared_ptr<const Model> model = adapter == nullptr ? model_ : std::move(adapter);
  require(slot >= 0 && slot < options_.slots, "slot ", slot, ", expected a slot below ", options_.slots);
  Slot& to = slots_[size_t(slot)];
  require(!to.live, "slot ", slot, " is not free");
  require_ids("token", ids, model_->config().vocab);
  const int64_t end = begin + int64_t(ids.size());
  require(begin >= 0 && begin <= to.cached && end <= options_.max_length, "tokens ", begin, " to ", end,
          ", expected to begin at most at the slot's ", to.cached, " and to end at most at ", options_.max_length);
  require(begin == 0 || holds(to, *model), "slot ", slot, " was computed under another adapter");
  to.cached = int32_t(begin);
  to.model = model;
  to.version = model->version();
  std::vector<Token> tokens;
  for (const int32_t id : ids)
    tokens.push_back({model.get(), id, int32_t(begin + int64_t(tokens.size())), int32_t(slot), nullptr});
  prefill_tokens(tokens);
  to.cached = int32_t(end);
  return {};
}

void Generator::prefill_pass(const Token* tokens, int64_t count) {
  std::vector<int32_t> ids, positions, in, rows, slots;
  std::vector<const Prompt*> ending;
  std::vector<MixPart> parts;
  for (int64_t i = 0; i < count; ++i) {
    const Token& token = tokens[i];
    ids.push_back(token.token);
    positions.push_back(token.position);
    in.push_back(token.slot);
    add_rows(parts, *token.model, 1);
    if (token.ends == nullptr) continue;
    ending.push_back(token.ends);
    rows.insert(rows.end(), token.ends->slots.size(), int32_t(i));
    slots.insert(slots.end(), token.ends->slots.begin(), token.ends->slots.end());
  }
  const Mix mix(parts);
  engine()->run([&](Backend& b, Arena& arena) {
    const auto uploaded = [&](const std::vector<int32_t>& v) { return upload_vector(b, arena, v.data(), count); };
    Batch batch = cached(uploaded(ids), uploaded(positions), uploaded(in));
    batch.host_positions = positions;
    const PassContext pass = mix.pass(b, arena, batch);
    const TrunkActs acts = trunk_forward(pass, false);
    if (ending.empty()) return;
    copy_to_samples(pass, ending);
    draw_first(pass, acts.out(), rows, slots);
  });
}

Decoded Generator::run(int64_t steps, const std::vector<int32_t>& slots) {
  if (auto stale = empty_stale(); !stale.empty()) return {.stale = std::move(stale)};
  require(steps >= 1, "steps is ", steps, ", expected 1 or more");
  std::vector<bool> seen(slots_.size());
  for (const int32_t s : slots) {
    require(s >= 0 && s < options_.slots, "slot ", s, ", expected a slot below ", options_.slots);
    require(slots_[size_t(s)].live && !seen[size_t(s)], "slot ", s, ", expected live slots, each once");
    seen[size_t(s)] = true;
  }
  Decoded out;
  out.slots = slots;
  const auto id_of = [&](int32_t s) { return slots_[size_t(s)].model.lock()->id(); };
  std::stable_sort(out.slots.begin(), out.slots.end(), [&](int32_t a, int32_t b) { return id_of(a) < id_of(b); });
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
  std::vector<int32_t> inputs = settings(slots);
  for (const int32_t s : slots) inputs.push_back(slots_[size_t(s)].token);
  std::vector<int32_t> positions;
  for (const int32_t s : slots) positions.push_back(slots_[size_t(s)].position);
  inputs.insert(inputs.end(), positions.begin(), positions.end());
  inputs.insert(inputs.end(), slots.begin(), slots.end());
  std::vector<MixPart> parts;
  for (const int32_t s : slots) add_rows(parts, *slots_[size_t(s)].model.lock(), 1);
  const Mix mix(parts);
  const uint64_t kind = kind_of(parts);
  engine()->run([&](Backend& b, Arena& arena) {
    const Tensor all = upload_vector(b, arena, inputs.data(), 10 * n), drawn = arena.take(DType::i32, 2 * n);
    const bool called = b.repeat(steps_.key(all.data, n, kind), [&] {
      Batch batch = cached(all.slice(7 * n, n), all.slice(8 * n, n), all.slice(9 * n, n));
      batch.host_positions = positions;
      batch.distinct_slots = true;
      const PassContext pass = mix.pass(b, arena, batch);
      draw(pass, trunk_forward(pass, false).out(), {}, all.slice(0, 7 * n), drawn);
    });
    if (!called) {
      const ModelConfig& c = model_->config();
      engine()->count_tokens(n);
      engine()->count_multiply_adds(trunk_multiply_adds(c, positions) + adapter_multiply_adds(mix.params(), n) +
                                    head_multiply_adds(c, n));
    }
    take_drawn(b, drawn, slots);
    if (b.measuring()) return;
    for (const int32_t s : slots) slots_[size_t(s)].cached = slots_[size_t(s)].position + 1;
  });
}

uint64_t Generator::kind_of(const std::vector<MixPart>& parts) {
  std::vector<uint64_t> key;
  for (const MixPart& part : parts) key.insert(key.end(), {part.model->id(), uint64_t(part.rows)});
  constexpr size_t kMost = 4096;
  if (kinds_.size() >= kMost) kinds_.clear();  // their numbers are not given again
  const auto [found, added] = kinds_.emplace(std::move(key), last_kind_ + 1);
  if (added) ++last_kind_;
  return found->second;
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

void Generator::copy_to_samples(const PassContext& pass, const std::vector<const Prompt*>& prompts) {
  std::vector<int32_t> from, to, lengths;
  for (const Prompt* prompt : prompts)
    for (size_t i = 1; i < prompt->slots.size(); ++i) {
      from.push_back(prompt->slots[0]);
      to.push_back(prompt->slots[i]);
      lengths.push_back(prompt->length);
    }
  if (!from.empty()) copy_in_cache(pass.backend, pass.arena, from, to, lengths);
}

void Generator::copy_in_cache(Backend& b, Arena& arena, const std::vector<int32_t>& from,
                              const std::vector<int32_t>& to, const std::vector<int32_t>& lengths) const {
  const auto uploaded = [&](const std::vector<int32_t>& values) {
    return upload_vector(b, arena, values.data(), int64_t(values.size()));
  };
  const Tensor from_slots = uploaded(from), to_slots = uploaded(to), copied = uploaded(lengths);
  const ModelConfig& c = model_->config();
  for (int64_t l = 0; l < c.num_layers; ++l)
    b.run(op::CacheCopy{.keys = cache_.keys(l),
                        .values = cache_.values(l),
                        .from = from_slots,
                        .to = to_slots,
                        .lengths = copied,
                        .num_kv_heads = c.num_kv_heads,
                        .head_dim = c.head_dim});
}

std::vector<int32_t> Generator::settings(const std::vector<int32_t>& slots) const {
  std::vector<int32_t> all;
  for (const int32_t s : slots) all.insert(all.end(), slots_[size_t(s)].seed, slots_[size_t(s)].seed + 2);
  for (const int32_t s : slots) all.insert(all.end(), {slots_[size_t(s)].sample_index, slots_[size_t(s)].position + 1});
  for (const int32_t s : slots) all.push_back(std::bit_cast<int32_t>(slots_[size_t(s)].sampling->temperature));
  for (const int32_t s : slots)
    all.push_back(int32_t(std::min<int64_t>(slots_[size_t(s)].sampling->top_k, model_->config().vocab)));
  for (const int32_t s : slots) all.push_back(std::bit_cast<int32_t>(slots_[size_t(s)].sampling->top_p));
  return all;
}

void Generator::draw_first(const PassContext& pass, Tensor trunk_out, const std::vector<int32_t>& rows,
                           const std::vector<int32_t>& slots) {
  const int64_t n = int64_t(slots.size());
  std::vector<int32_t> inputs = settings(slots);
  inputs.insert(inputs.end(), rows.begin(), rows.end());
  const Tensor all = upload_vector(pass.backend, pass.arena, inputs.data(), 8 * n),
               drawn = pass.arena.take(DType::i32, 2 * n);
  draw(pass, trunk_out, all.slice(7 * n, n), all.slice(0, 7 * n), drawn);
  take_drawn(pass.backend, drawn, slots);
}

void Generator::draw(const PassContext& pass, Tensor trunk_out, Tensor rows, Tensor settings, Tensor drawn) const {
  const int64_t all = drawn.rows / 2, chunk = pass.backend.logits_rows(pass.config().padded_vocab());
  const auto pairs = [&](int64_t begin, int64_t n) {
    Tensor t = settings.slice(2 * begin, 2 * n);
    t.rows = n;
    t.cols = 2;
    return t;
  };
  const auto column = [&](int64_t i, int64_t first, int64_t n, DType dtype) {
    Tensor t = settings.slice(i * all + first, n);
    t.dtype = dtype;
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
                                .temperatures = column(4, first, n, DType::f32),
                                .top_k = column(5, first, n, DType::i32),
                                .top_p = column(6, first, n, DType::f32),
                                .vocab = pass.config().vocab});
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
  const auto& stop = slot.sampling->stop_tokens;
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
