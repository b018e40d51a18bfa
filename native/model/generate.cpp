#include "native/model/generate.h"

#include <algorithm>
#include <cmath>

#include "native/model/transformer.h"

namespace heed {
namespace {

const GeneratorOptions& checked(const ModelConfig& config, const GeneratorOptions& o) {
  require(config.head == Head::kLanguage, "generate needs a language model, this one has a scalar head");
  require(o.slots >= 1 && o.slots <= 1 << 16, "slots is ", o.slots, ", expected 1 to 65536");
  require(o.max_length >= 1 && o.max_length <= config.max_positions, "prompt and response have up to ", o.max_length,
          " tokens, the model holds ", config.max_positions);
  require(o.temperature == 0 || (o.temperature >= op::kMinTemperature && std::isfinite(o.temperature)),
          "temperature is ", o.temperature, ", expected 0 or ", op::kMinTemperature, " at least");
  require(o.top_k >= 0, "topK is ", o.top_k, ", expected 0 (off) or more");
  require(o.top_p > 0 && o.top_p <= 1, "topP is ", o.top_p, ", expected more than 0 and at most 1");
  for (const int32_t t : o.stop_tokens)
    require(t >= 0 && t < config.vocab, "stop token ", t, " is not an id below the vocabulary's ", config.vocab);
  return o;
}

}  // namespace

Generator::Generator(std::shared_ptr<Model> model, const GeneratorOptions& options)
    : model_(std::move(model)),
      options_(checked(model_->config(), options)),
      cache_(*model_->engine(), model_->config(), options_.slots, options_.max_length),
      slots_(size_t(options_.slots)) {}

void Generator::check(const StartRequest& q) const {
  const size_t n = q.slots.size();
  require(
      q.prompt_of.size() == n && q.sample_index.size() == n && q.max_new_tokens.size() == n && q.seeds.size() == 2 * n,
      "promptOf, slots, seeds, sampleIndex and maxNewTokens must have one entry per sample");
  require(!q.cu_seqlens.empty(), "cuSeqlens is empty");
  const int32_t prompts = int32_t(q.cu_seqlens.size()) - 1;
  std::vector<bool> taken(slots_.size());
  for (size_t i = 0; i < n; ++i) {
    require(q.slots[i] >= 0 && q.slots[i] < options_.slots, "slot ", q.slots[i], " is not below ", options_.slots);
    require(!slots_[size_t(q.slots[i])].live && !taken[size_t(q.slots[i])], "slot ", q.slots[i], " is not free");
    taken[size_t(q.slots[i])] = true;
    require(q.prompt_of[i] >= 0 && q.prompt_of[i] < prompts, "sample ", i, " is of prompt ", q.prompt_of[i],
            ", there are ", prompts);
    const int64_t length = int64_t{q.cu_seqlens[size_t(q.prompt_of[i]) + 1]} - q.cu_seqlens[size_t(q.prompt_of[i])];
    require(length >= 1, "prompt ", q.prompt_of[i], " has ", length, " tokens, expected at least one");
    require(q.max_new_tokens[i] >= 1, "maxNewTokens is ", q.max_new_tokens[i], ", expected 1 or more");
    require(length + q.max_new_tokens[i] <= options_.max_length, "prompt ", q.prompt_of[i], " has ", length,
            " tokens and asks for ", q.max_new_tokens[i], " more, the cache holds ", options_.max_length);
  }
}

void Generator::sample(Backend& b, Arena& arena, const Tensor& logits, const std::vector<int32_t>& seeds,
                       const std::vector<int32_t>& counters, int32_t* tokens, float* logprobs) {
  const int64_t n = logits.rows;
  const auto pairs = [&](const std::vector<int32_t>& values) {
    const Tensor t = arena.take(DType::i32, n, 2);
    b.upload(t, values.data());
    return t;
  };
  const Tensor drawn = arena.take(DType::i32, n), drawn_logprobs = arena.take(DType::f32, n);
  b.run(op::Sample{.tokens = drawn,
                   .logprobs = drawn_logprobs,
                   .logits = logits,
                   .seeds = pairs(seeds),
                   .counters = pairs(counters),
                   .vocab = model_->config().vocab,
                   .temperature = options_.temperature,
                   .top_k = options_.top_k,
                   .top_p = options_.top_p});
  b.download(tokens, drawn);
  b.download(logprobs, drawn_logprobs);
}

Finish Generator::accept(Slot& slot, int32_t token) {
  slot.token = token;
  --slot.remaining;
  const auto& stop = options_.stop_tokens;
  const Finish finish = std::find(stop.begin(), stop.end(), token) != stop.end() ? Finish::kStop
                        : slot.remaining == 0                                    ? Finish::kLength
                                                                                 : Finish::kLive;
  slot.live = finish == Finish::kLive;
  return finish;
}

Decoded Generator::start(const StartRequest& q) {
  check(q);
  Engine& engine = *model_->engine();
  const ModelConfig& c = model_->config();
  const int64_t n = int64_t(q.slots.size()), prompts = int64_t(q.cu_seqlens.size()) - 1;

  // Samples in the order of their prompts, so that rows follow the order of trees.
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) order[size_t(i)] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return q.prompt_of[size_t(a)] < q.prompt_of[size_t(b)]; });
  HostBatch host{.tokens = q.tokens,
                 .cu_seqlens = q.cu_seqlens,
                 .parent = std::vector<int32_t>(size_t(prompts), -1),
                 .rows = {},
                 .targets = {}};
  for (const int64_t i : order) host.rows.push_back(q.cu_seqlens[size_t(q.prompt_of[size_t(i)]) + 1] - 1);

  std::vector<int32_t> first_slot(size_t(prompts), -1);  // where a prompt is computed; others copy from it
  for (const int64_t i : order) {
    int32_t& slot = first_slot[size_t(q.prompt_of[size_t(i)])];
    if (slot < 0) slot = q.slots[size_t(i)];
  }

  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::vector<float> logprobs(static_cast<size_t>(n));
  for (const HostBatch::Pass& pass : host.split(c, engine.max_tokens(), false)) {
    engine.run([&](Backend& b, Arena& arena) {
      Batch batch = upload(b, arena, host, pass);
      std::vector<int32_t> token_slots;
      for (int64_t p = pass.segment_begin; p < pass.segment_end; ++p)
        token_slots.insert(token_slots.end(), size_t(q.cu_seqlens[size_t(p) + 1] - q.cu_seqlens[size_t(p)]),
                           first_slot[size_t(p)]);
      batch.cache = &cache_;
      batch.slots = upload_vector(b, arena, token_slots.data(), int64_t(token_slots.size()));
      const TrunkActs acts = trunk_forward(engine, b, arena, *model_, batch, {}, false);

      std::vector<int32_t> from, to, lengths;
      for (int64_t r = pass.row_begin; r < pass.row_end; ++r) {
        const size_t i = size_t(order[size_t(r)]), p = size_t(q.prompt_of[i]);
        if (q.slots[i] == first_slot[p]) continue;
        from.push_back(first_slot[p]);
        to.push_back(q.slots[i]);
        lengths.push_back(q.cu_seqlens[p + 1] - q.cu_seqlens[p]);
      }
      const int64_t copies = int64_t(from.size());
      const Tensor f = upload_vector(b, arena, from.data(), copies), t = upload_vector(b, arena, to.data(), copies),
                   len = upload_vector(b, arena, lengths.data(), copies);
      for (int64_t l = 0; l < c.num_layers && copies > 0; ++l)
        b.run(op::CacheCopy{.keys = cache_.keys(l),
                            .values = cache_.values(l),
                            .from = f,
                            .to = t,
                            .lengths = len,
                            .num_kv_heads = c.num_kv_heads,
                            .head_dim = c.head_dim});

      const int64_t chunk = logits_chunk_rows(c);
      for (int64_t r = 0; r < pass.num_rows(); r += chunk) {
        const Arena::Scope scope(arena);
        const int64_t rows = std::min(chunk, pass.num_rows() - r);
        std::vector<int32_t> seeds, counters;
        for (int64_t k = 0; k < rows; ++k) {
          const size_t i = size_t(order[size_t(pass.row_begin + r + k)]), p = size_t(q.prompt_of[i]);
          seeds.insert(seeds.end(), {q.seeds[2 * i], q.seeds[2 * i + 1]});
          counters.insert(counters.end(), {q.sample_index[i], q.cu_seqlens[p + 1] - q.cu_seqlens[p]});
        }
        const HeadRows head = lm_head_forward(b, arena, *model_, acts.out, batch.rows.slice(r, rows));
        sample(b, arena, head.logits, seeds, counters, tokens.data() + pass.row_begin + r,
               logprobs.data() + pass.row_begin + r);
      }
    });
  }

  Decoded out;
  out.slots = q.slots;
  out.counts.assign(size_t(n), 1);
  out.tokens.resize(size_t(n));
  out.logprobs.resize(size_t(n));
  out.finished.resize(size_t(n));
  for (int64_t r = 0; r < n; ++r) {
    const size_t i = size_t(order[size_t(r)]), p = size_t(q.prompt_of[i]);
    Slot& slot = slots_[size_t(q.slots[i])];
    slot = {.live = true,
            .token = 0,
            .position = q.cu_seqlens[p + 1] - q.cu_seqlens[p],
            .seed = {q.seeds[2 * i], q.seeds[2 * i + 1]},
            .sample_index = q.sample_index[i],
            .remaining = q.max_new_tokens[i]};
    out.tokens[i] = tokens[size_t(r)];
    out.logprobs[i] = logprobs[size_t(r)];
    out.finished[i] = accept(slot, tokens[size_t(r)]);
  }
  return out;
}

Decoded Generator::run(int64_t steps) {
  require(steps >= 1, "steps is ", steps, ", expected 1 or more");
  Engine& engine = *model_->engine();
  const ModelConfig& c = model_->config();
  Decoded out;
  for (size_t s = 0; s < slots_.size(); ++s)
    if (slots_[s].live) out.slots.push_back(int32_t(s));
  const size_t B = out.slots.size();
  out.counts.assign(B, 0);
  out.finished.assign(B, Finish::kLive);
  if (B == 0) return out;

  std::vector<std::vector<int32_t>> drawn(B);
  std::vector<std::vector<float>> drawn_logprobs(B);
  std::vector<int32_t> tokens(B), positions(B), seeds, counters(2 * B), next(B);
  std::vector<float> logprobs(B);
  for (const int32_t s : out.slots) seeds.insert(seeds.end(), slots_[size_t(s)].seed, slots_[size_t(s)].seed + 2);

  bool finished = false;
  for (int64_t step = 0; step < steps && !finished; ++step) {
    for (size_t i = 0; i < B; ++i) {
      const Slot& slot = slots_[size_t(out.slots[i])];
      tokens[i] = slot.token;
      positions[i] = slot.position;
      counters[2 * i] = slot.sample_index;
      counters[2 * i + 1] = slot.position + 1;
    }
    engine.run([&](Backend& b, Arena& arena) {
      Batch batch;
      batch.tokens = upload_vector(b, arena, tokens.data(), int64_t(B));
      batch.positions = upload_vector(b, arena, positions.data(), int64_t(B));
      batch.cache = &cache_;
      batch.slots = upload_vector(b, arena, out.slots.data(), int64_t(B));
      batch.decode = true;
      const TrunkActs acts = trunk_forward(engine, b, arena, *model_, batch, {}, false);
      const Tensor logits = arena.take(DType::f32, int64_t(B), c.padded_vocab());
      b.run(op::Gemm{
          .out = logits, .a = acts.out, .b = model_->params().lm_head(c), .transpose_b = true, .weight = true});
      sample(b, arena, logits, seeds, counters, next.data(), logprobs.data());
    });
    for (size_t i = 0; i < B; ++i) {
      Slot& slot = slots_[size_t(out.slots[i])];
      ++slot.position;
      drawn[i].push_back(next[i]);
      drawn_logprobs[i].push_back(logprobs[i]);
      out.finished[i] = accept(slot, next[i]);
      finished |= out.finished[i] != Finish::kLive;
    }
  }
  for (size_t i = 0; i < B; ++i) {
    out.counts[i] = int32_t(drawn[i].size());
    out.tokens.insert(out.tokens.end(), drawn[i].begin(), drawn[i].end());
    out.logprobs.insert(out.logprobs.end(), drawn_logprobs[i].begin(), drawn_logprobs[i].end());
  }
  return out;
}

void Generator::release(const std::vector<int32_t>& slots) {
  for (const int32_t s : slots) {
    require(s >= 0 && s < options_.slots, "slot ", s, " is not below ", options_.slots);
    slots_[size_t(s)].live = false;
  }
}

}  // namespace heed
