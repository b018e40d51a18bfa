// Decoding with a cache is bit-identical to the full forward pass, and a response does not depend on the rest of the
// batch.
#include <gtest/gtest.h>

#include "test/native/model/samples.h"

namespace {

using namespace toy;

// Runs samples through a generator with few slots, refilling them; result i belongs to sample i.
std::vector<Drawn> generate(std::shared_ptr<Model> m, const std::vector<std::vector<int32_t>>& prompts,
                            const std::vector<int>& prompt_of, GeneratorOptions o, int steps,
                            const Sampling& sampling = {.stop_tokens = {5, 9}}) {
  Generator generator(m, o);
  std::vector<Drawn> out(prompt_of.size());
  std::vector<int> sample_in(size_t(o.slots), -1);
  std::vector<int> index_of(prompt_of.size());
  for (size_t i = 0; i < prompt_of.size(); ++i)
    for (size_t k = 0; k < i; ++k) index_of[i] += prompt_of[k] == prompt_of[i];
  size_t next = 0;
  const auto take = [&](const Decoded& d) {
    size_t at = 0;
    for (size_t b = 0; b < d.slots.size(); ++b) {
      Drawn& sample = out[size_t(sample_in[size_t(d.slots[b])])];
      sample.tokens.insert(sample.tokens.end(), &d.tokens[at], &d.tokens[at] + d.counts[b]);
      sample.logprobs.insert(sample.logprobs.end(), &d.logprobs[at], &d.logprobs[at] + d.counts[b]);
      at += size_t(d.counts[b]);
      sample.finish = d.finished[b];
      if (d.finished[b] != Finish::kLive) sample_in[size_t(d.slots[b])] = -1;
    }
  };
  for (;;) {
    StartRequest q;
    q.cu_seqlens = {0};
    std::vector<int> at(prompts.size(), -1);
    for (int s = 0; s < o.slots && next < prompt_of.size(); ++s) {
      if (sample_in[size_t(s)] >= 0) continue;
      const int p = prompt_of[next];
      if (at[size_t(p)] < 0) {
        at[size_t(p)] = int(q.cu_seqlens.size()) - 1;
        q.tokens.insert(q.tokens.end(), prompts[size_t(p)].begin(), prompts[size_t(p)].end());
        q.cu_seqlens.push_back(int32_t(q.tokens.size()));
        q.cached.push_back(0);
        q.cached_in.push_back(0);
      }
      q.prompt_of.push_back(at[size_t(p)]);
      q.slots.push_back(s);
      q.seeds.insert(q.seeds.end(), {100 + p, 3});
      q.sample_index.push_back(index_of[next]);
      q.max_new_tokens.push_back(12);
      q.sampling_of.push_back(0);
      sample_in[size_t(s)] = int(next++);
    }
    q.sampling = {sampling};
    if (!q.slots.empty()) take(generator.start(q));
    std::vector<int32_t> live;
    for (size_t s = 0; s < sample_in.size(); ++s)
      if (sample_in[s] >= 0) live.push_back(int32_t(s));
    if (live.empty() && next == prompt_of.size()) return out;
    if (!live.empty()) take(generator.run(steps, live));
  }
}

// Every kind of model, in both types.
class Generate : public testing::TestWithParam<std::tuple<int, DType>> {
 protected:
  const ModelConfig c = config(std::get<0>(GetParam()));
  const DType dtype = std::get<1>(GetParam());
};

TEST_P(Generate, LogprobsEqualTheForwardPassWhateverTheBatch) {
  auto m = model(engine(2, 4096, dtype), c);
  std::mt19937_64 rng(1);
  std::vector<std::vector<int32_t>> prompts(6);
  for (auto& p : prompts) {
    p.resize(1 + rng() % 20);
    for (int32_t& t : p) t = int32_t(rng() % 37);
  }
  const std::vector<int> prompt_of = {0, 0, 0, 1, 2, 3, 3, 4, 5, 5};
  const GeneratorOptions o{.slots = 4, .max_length = 40};
  const auto drawn = generate(m, prompts, prompt_of, o, 3);

  // the same with other slots, steps, threads and passes, and with each sample's prompt alone
  GeneratorOptions many = o;
  many.slots = 10;
  EXPECT_EQ(generate(model(engine(1, 24, dtype), c), prompts, prompt_of, many, 1), drawn);
  // prompts longer than a pass, and more slots than a pass has tokens
  EXPECT_EQ(generate(model(engine(2, 7, dtype), c), prompts, prompt_of, many, 2), drawn);

  HostBatch batch;
  batch.cu_seqlens = {0};
  std::vector<float> expected;
  bool stopped = false, cut = false;
  for (size_t i = 0; i < drawn.size(); ++i) {
    std::vector<int32_t> whole = prompts[size_t(prompt_of[i])];
    const int32_t first = int32_t(batch.tokens.size() + whole.size());
    whole.insert(whole.end(), drawn[i].tokens.begin(), drawn[i].tokens.end());
    for (size_t t = 0; t < drawn[i].tokens.size(); ++t) {
      batch.rows.push_back(first + int32_t(t) - 1);
      batch.targets.push_back(drawn[i].tokens[t]);
    }
    batch.tokens.insert(batch.tokens.end(), whole.begin(), whole.end());
    batch.cu_seqlens.push_back(int32_t(batch.tokens.size()));
    batch.parent.push_back(-1);
    expected.insert(expected.end(), drawn[i].logprobs.begin(), drawn[i].logprobs.end());
    const int32_t last = drawn[i].tokens.back();
    EXPECT_EQ(drawn[i].finish, last == 5 || last == 9 ? Finish::kStop : Finish::kLength);
    stopped |= drawn[i].finish == Finish::kStop;
    cut |= drawn[i].finish == Finish::kLength;
    EXPECT_LE(drawn[i].tokens.size(), 12u);
  }
  EXPECT_TRUE(stopped && cut);
  EXPECT_EQ(m->logprobs(batch, 1).logprobs, expected);

  // the first ratio of PPO is exactly 1
  Trainer trainer(m, {});
  PolicyLossOptions p;
  p.old_logprobs = expected;
  p.advantages.assign(expected.size(), 1);
  for (const float ratio : trainer.ppo(batch, p).ratio) EXPECT_EQ(ratio, 1.0f);
}

TEST_P(Generate, SamplesOfAPromptDiffer) {
  auto m = model(engine(1, 4096, dtype), c);
  const auto drawn = generate(m, {{1, 2, 3}}, {0, 0, 0, 0}, {.slots = 4, .max_length = 40}, 4, {});
  EXPECT_NE(drawn[0].tokens, drawn[1].tokens);
  EXPECT_NE(drawn[2].tokens, drawn[3].tokens);
}

// Samples with other settings join a running batch, pause and leave it.
TEST_P(Generate, EachSampleHasItsSettingsInASharedBatch) {
  auto m = model(engine(2, 4096, dtype), c);
  Generator g(m, {.slots = 4, .max_length = 40});
  std::vector<Drawn> drawn(4);
  for (int32_t i = 0; i < 4; ++i) {
    append(drawn[size_t(i)], g.start(one(numbered(i, 3 + i), i, i, kSettings[i])), i);
    std::vector<int32_t> live;
    for (int32_t k = i % 2; k <= i; ++k)  // every second time without the first one
      if (drawn[size_t(k)].finish == Finish::kLive) live.push_back(k);
    const Decoded d = g.run(2, live);
    for (const int32_t k : live) append(drawn[size_t(k)], d, k);
  }
  for (int32_t i = 0; i < 4; ++i)
    while (drawn[size_t(i)].finish == Finish::kLive) append(drawn[size_t(i)], g.run(1, {i}), i);
  for (int32_t i = 0; i < 4; ++i)
    EXPECT_EQ(drawn[size_t(i)], alone(m, one(numbered(i, 3 + i), 0, i, kSettings[i]))) << "settings " << i;
}

// A prompt whose beginning is in the cache, in its own slot, in another or in one that still decodes, or that was
// computed ahead in parts, gives the bits of a prompt that is computed whole.
TEST_P(Generate, AKeptPrefixChangesNoBit) {
  for (const int64_t max_tokens : {4096, 5}) {
    auto m = model(engine(2, max_tokens, dtype), c);
    Generator g(m, {.slots = 3, .max_length = 40});
    const std::vector<int32_t> prompt = numbered(3, 12);
    const Drawn whole = alone(m, one(prompt, 0, 7, kSettings[2]));
    const auto play = [&](const StartRequest& q) {
      Drawn out;
      append(out, g.start(q), q.slots[0]);
      while (out.finish == Finish::kLive) append(out, g.run(3, q.slots), q.slots[0]);
      return out;
    };
    EXPECT_EQ(play(one(prompt, 0, 7, kSettings[2])), whole);
    EXPECT_EQ(play(one(prompt, 0, 7, kSettings[2], 11, 0)), whole);  // its own slot
    EXPECT_EQ(play(one(prompt, 2, 7, kSettings[2], 6, 0)), whole);   // another
    // what was answered is kept too, but for the last token
    std::vector<int32_t> longer = prompt;
    longer.insert(longer.end(), whole.tokens.begin(), whole.tokens.end());
    longer.insert(longer.end(), {4, 8, 15});
    const int32_t kept = int32_t(prompt.size() + whole.tokens.size() - 1);
    EXPECT_EQ(play(one(longer, 1, 2, kSettings[0], kept, 2)), alone(m, one(longer, 0, 2, kSettings[0])));
    EXPECT_THROW(g.start(one(longer, 1, 2, kSettings[0], kept + 1, 2)), Error);
    EXPECT_THROW(g.start(one(prompt, 1, 2, kSettings[0], int32_t(prompt.size()), 1)), Error);
    // one that still decodes
    Drawn other;
    append(other, g.start(one(prompt, 0, 7, kSettings[2])), 0);
    append(other, g.run(2, {0}), 0);
    EXPECT_EQ(play(one(longer, 1, 2, kSettings[0], int32_t(prompt.size()) + 2, 0)),
              alone(m, one(longer, 0, 2, kSettings[0])));
    while (other.finish == Finish::kLive) append(other, g.run(1, {0}), 0);
    EXPECT_EQ(other, whole);
    // ahead, in parts
    g.prefill(2, {prompt.begin(), prompt.begin() + 4}, 0);
    g.prefill(2, {prompt.begin() + 4, prompt.begin() + 11}, 4);
    EXPECT_EQ(play(one(prompt, 2, 7, kSettings[2], 11, 2)), whole);
  }
}

// A cache of other parameters is not used.
TEST_P(Generate, ChangedParametersEmptyTheCache) {
  auto m = model(engine(2, 4096, dtype), c);
  Generator g(m, {.slots = 2, .max_length = 40});
  const StartRequest q = one(numbered(1, 9), 0, 3, kSettings[0]);
  g.start(q);
  Trainer trainer(m, {});
  HostBatch batch{.tokens = {1, 2, 3}, .cu_seqlens = {0, 3}, .parent = {-1}, .rows = {0, 1}, .targets = {2, 3}};
  trainer.sft(batch, 0.5f, 0);
  trainer.step({.learning_rate = 0.01f});
  EXPECT_EQ(g.run(1, {0}).stale, std::vector<int32_t>{0});
  EXPECT_THROW(g.run(1, {0}), Error);  // the slot is empty
  EXPECT_THROW(g.start(one(numbered(1, 9), 0, 3, kSettings[0], 5, 0)), Error);
  Drawn out;
  append(out, g.start(q), 0);
  while (out.finish == Finish::kLive) append(out, g.run(8, {0}), 0);
  EXPECT_EQ(out, alone(m, q));
  m->initialize(9);
  EXPECT_EQ(g.start(q).stale, std::vector<int32_t>{0});
  EXPECT_TRUE(g.start(q).stale.empty());
}

INSTANTIATE_TEST_SUITE_P(Kinds, Generate,
                         testing::Combine(testing::Range(0, kKinds), testing::Values(DType::f32, DType::bf16)));

TEST(Generator, RefusesWhatDoesNotFit) {
  auto m = model(engine(), config(0));
  EXPECT_THROW(Generator(m, {.slots = 1, .max_length = 49}), Error);
  Generator g(m, {.slots = 1, .max_length = 10});
  StartRequest q{.tokens = {1, 2, 3},
                 .cu_seqlens = {0, 3},
                 .cached = {0},
                 .cached_in = {0},
                 .prompt_of = {0},
                 .slots = {0},
                 .seeds = {1, 0},
                 .sample_index = {0},
                 .max_new_tokens = {8},
                 .sampling = {{}},
                 .sampling_of = {0}};
  EXPECT_THROW(g.start(q), Error);
  q.max_new_tokens = {7};
  g.start(q);
  EXPECT_THROW(g.start(q), Error);  // the slot is taken
}

TEST(Generator, NamesAPromptWhoseLengthDoesNotFitInto32Bits) {
  Generator g(model(engine(), config(0)), {.slots = 1, .max_length = 10});
  StartRequest q{.tokens = {1},
                 .cu_seqlens = {INT32_MAX, INT32_MIN},
                 .cached = {0},
                 .cached_in = {0},
                 .prompt_of = {0},
                 .slots = {0},
                 .seeds = {1, 0},
                 .sample_index = {0},
                 .max_new_tokens = {1},
                 .sampling = {{}},
                 .sampling_of = {0}};
  try {
    g.start(q);
    FAIL() << "it was accepted";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "prompt 0 has -4294967295 tokens, expected at least one");
  }
}

TEST(Generator, ACacheWhoseSizeOverflowsIsOutOfMemory) {
  ModelConfig c = config(1);
  c.num_layers = c.num_heads = c.num_kv_heads = c.head_dim = 1024;
  c.max_positions = 1 << 20;
  c.rope_frequencies.assign(512, 1);
  c.check();
  auto e = engine();
  try {
    KvCache(*e, c, 1 << 16, 1 << 20);  // 2^69 bytes
    FAIL() << "it was allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::OutOfMemory) << error.what();
  }
}

}  // namespace
