// Passes under several adapters of one base: each sequence has the bits that it has alone under its adapter.
#include "native/model/mix.h"

#include <gtest/gtest.h>

#include "native/model/together.h"
#include "test/native/model/adapters.h"
#include "test/native/model/samples.h"

namespace {

using namespace toy;

// A base, adapters to it with other ranks, scales and layers, and scalar ones.
struct Family {
  std::shared_ptr<Model> base, a, b, scalar, reward;

  Family(std::shared_ptr<Engine> e, const ModelConfig& c)
      : base(model(std::move(e), c)),
        a(adapter(base)),
        b(adapter(base, Head::kLanguage, false, 6, 1)),
        scalar(adapter(base, Head::kScalar, true, 7, 2)),
        reward(adapter(base, Head::kScalar, false, 8)) {
    reward->set_score_offset(0.75f);
  }
};

class Mixed : public testing::TestWithParam<std::tuple<int, DType>> {
 protected:
  const ModelConfig c = config(std::get<0>(GetParam()));
  const DType dtype = std::get<1>(GetParam());
  Family family(int threads = 2, int64_t max_tokens = 4096) { return {engine(threads, max_tokens, dtype), c}; }
};
INSTANTIATE_TEST_SUITE_P(Kinds, Mixed,
                         testing::Combine(testing::Range(0, kKinds), testing::Values(DType::f32, DType::bf16)));

struct Asked {
  std::shared_ptr<Model> Family::*model;
  int trees, responses;
  bool shared;
  float temperature;
};
// Interleaved, so that the batch is put in another order; one without rows, and one model under two temperatures.
const Asked kAsked[] = {
    {&Family::scalar, 3, 2, true, 1}, {&Family::b, 2, 3, true, 1},       {&Family::base, 3, 2, false, 2},
    {&Family::a, 1, 1, true, 0.5f},   {&Family::reward, 2, 1, true, 1},  {&Family::b, 4, 2, false, 1},
    {&Family::a, 0, 1, true, 1},      {&Family::scalar, 1, 3, false, 1}, {&Family::b, 1, 2, true, 0.7f}};

std::vector<TogetherRequest> requests(const Family& family) {
  std::vector<TogetherRequest> list;
  for (const Asked& asked : kAsked) {
    const auto& m = family.*asked.model;
    const bool scalar = m->config().head == Head::kScalar;
    list.push_back(
        {m, pack(trees(asked.trees, asked.responses, 37, list.size()), asked.shared, scalar), asked.temperature});
  }
  return list;
}

std::vector<TogetherResult> one_by_one(const std::vector<TogetherRequest>& list) {
  std::vector<TogetherResult> results;
  for (const auto& [m, batch, temperature] : list) {
    auto& own = const_cast<Model&>(*m);
    if (m->config().head == Head::kScalar) {
      results.push_back({own.scores(batch), {}});
    } else {
      TokenLogprobs found = own.logprobs(batch, temperature);
      results.push_back({std::move(found.logprobs), std::move(found.entropy)});
    }
  }
  return results;
}

void expect_equal(const std::vector<TogetherResult>& actual, const std::vector<TogetherResult>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].values, expected[i].values) << "request " << i;
    EXPECT_EQ(actual[i].entropy, expected[i].entropy) << "request " << i;
  }
}

TEST_P(Mixed, EachRequestHasTheBitsThatItHasAlone) {
  const Family all = family();
  const std::vector<TogetherRequest> list = requests(all);
  const std::vector<TogetherResult> expected = one_by_one(list);
  // The models do differ.
  EXPECT_NE(all.a->logits(list[2].batch), all.base->logits(list[2].batch));
  EXPECT_NE(all.a->logits(list[2].batch), all.b->logits(list[2].batch));
  EXPECT_NE(all.scalar->scores(list[4].batch), all.reward->scores(list[4].batch));
  expect_equal(compute_together(list), expected);
  // Other passes, threads and orders.
  for (const int64_t max_tokens : {30, 41, 64})
    expect_equal(compute_together(requests(family(1, max_tokens))), expected);
  std::vector<TogetherRequest> reversed(list.rbegin(), list.rend());
  std::vector<TogetherResult> results = compute_together(reversed);
  std::reverse(results.begin(), results.end());
  expect_equal(results, expected);
  // Requests of one model, and one alone.
  expect_equal(compute_together({list[1], list[5]}), {expected[1], expected[5]});
  expect_equal(compute_together({list[4]}), {expected[4]});
}

TEST_P(Mixed, SamplesUnderSeveralAdaptersInASharedBatch) {
  const Family all = family();
  const std::shared_ptr<Model> models[] = {all.a, all.base, all.b, all.a, all.b, all.base};
  const auto asked = [&](int32_t i, int32_t slot) { return one(numbered(i, 3 + 2 * i), slot, i, kSettings[i % 4]); };
  std::vector<Drawn> expected;
  for (int32_t i = 0; i < 6; ++i) expected.push_back(alone(models[i], asked(i, 0)));
  EXPECT_NE(alone(all.b, asked(0, 0)), expected[0]);
  EXPECT_NE(alone(all.base, asked(0, 0)), expected[0]);
  for (const int64_t max_tokens : {4096, 4}) {  // prompts in parts, and steps in several passes
    const Family again = family(1, max_tokens);
    const std::shared_ptr<Model> same[] = {again.a, again.base, again.b, again.a, again.b, again.base};
    Generator g(again.base, {.slots = 6, .max_length = 40});
    std::vector<Drawn> drawn(6);
    for (int32_t i = 0; i < 6; ++i) {
      append(drawn[size_t(i)], g.start(under(same[i], asked(i, i))), i);
      std::vector<int32_t> live;
      for (int32_t k = i; k >= i % 2; --k)
        if (drawn[size_t(k)].finish == Finish::kLive) live.push_back(k);
      const Decoded d = g.run(1, live);
      for (const int32_t k : live) append(drawn[size_t(k)], d, k);
    }
    for (bool goes_on = true; goes_on;) {
      std::vector<int32_t> live;
      for (int32_t k = 0; k < 6; ++k)
        if (drawn[size_t(k)].finish == Finish::kLive) live.push_back(k);
      goes_on = !live.empty();
      const Decoded d = g.run(3, live);
      for (const int32_t k : live) append(drawn[size_t(k)], d, k);
    }
    EXPECT_EQ(drawn, expected);
  }
}

// Prompts of several adapters that begin in one job, with and without a beginning in the cache.
TEST_P(Mixed, PromptsUnderSeveralAdaptersInOneStart) {
  const Family all = family();
  const std::vector<int32_t> prompt = numbered(2, 9);
  const auto of = [&](const std::shared_ptr<Model>& m, int32_t number) {
    return alone(m, one(prompt, 0, number, kSettings[0]));
  };
  Generator g(all.base, {.slots = 6, .max_length = 40});
  const auto both = [&](std::vector<int32_t> slots, int32_t cached) {
    StartRequest q;
    for (int p = 0; p < 3; ++p) q.tokens.insert(q.tokens.end(), prompt.begin(), prompt.end());
    q.cu_seqlens = {0, 9, 18, 27};
    q.cached = {cached, cached, cached};
    q.cached_in = {0, 1, 2};
    q.adapters = {all.b, all.a};
    q.adapter_of = {1, -1, 0};
    q.prompt_of = {0, 1, 2};
    q.slots = slots;
    q.seeds = {10, 3, 11, 3, 12, 3};
    q.sample_index = {10, 11, 12};
    q.max_new_tokens = {8, 8, 8};
    q.sampling = {kSettings[0]};
    q.sampling_of = {0, 0, 0};
    Drawn drawn[3];
    const Decoded begun = g.start(q);
    for (size_t i = 0; i < 3; ++i) append(drawn[i], begun, slots[i]);
    for (;;) {
      std::vector<int32_t> live;
      for (size_t i = 0; i < 3; ++i)
        if (drawn[i].finish == Finish::kLive) live.push_back(slots[i]);
      if (live.empty()) break;
      const Decoded d = g.run(2, live);
      for (size_t i = 0; i < 3; ++i) append(drawn[i], d, slots[i]);
    }
    EXPECT_EQ(drawn[0], of(all.a, 10));
    EXPECT_EQ(drawn[1], of(all.base, 11));
    EXPECT_EQ(drawn[2], of(all.b, 12));
  };
  both({0, 1, 2}, 0);
  both({3, 4, 5}, 6);
  both({0, 1, 2}, 8);
  // What another adapter computed is not used.
  StartRequest q = under(all.b, one(prompt, 3, 1, kSettings[0], 6, 0));
  EXPECT_THROW(g.start(q), Error);
  EXPECT_THROW(g.start(one(prompt, 3, 1, kSettings[0], 6, 0)), Error);
  EXPECT_THROW(g.prefill(0, {1, 2}, 3, all.b), Error);
  EXPECT_THROW(g.prefill(1, {1, 2}, 3, all.a), Error);
  // Ahead, in parts, under an adapter.
  g.prefill(4, {prompt.begin(), prompt.begin() + 4}, 0, all.b);
  g.prefill(4, {prompt.begin() + 4, prompt.begin() + 7}, 4, all.b);
  Drawn drawn;
  append(drawn, g.start(under(all.b, one(prompt, 4, 12, kSettings[0], 7, 4))), 4);
  while (drawn.finish == Finish::kLive) append(drawn, g.run(8, {4}), 4);
  EXPECT_EQ(drawn, of(all.b, 12));
}

// Steps with as many rows of other models are other steps, also for a device that records them.
TEST_P(Mixed, StepsOfOtherMixesAreNotConfused) {
  const Family all = family();
  const std::shared_ptr<Model> models[] = {all.a, all.b, all.base, all.a};
  const Sampling free{.temperature = 1, .stop_tokens = {}};
  Generator g(all.base, {.slots = 4, .max_length = 40});
  Drawn drawn[4];
  for (int32_t i = 0; i < 4; ++i) {
    StartRequest q = one(numbered(i, 4), i, i, free);
    q.max_new_tokens = {25};
    append(drawn[i], g.start(under(models[i], q)), i);
  }
  const std::vector<int32_t> mixes[] = {{0, 1}, {0, 2}, {1, 2}, {0, 3}, {1, 3}, {2, 3}};
  for (int round = 0; round < 2; ++round)
    for (const std::vector<int32_t>& mix : mixes) {
      const Decoded d = g.run(4, mix);
      for (const int32_t s : mix) append(drawn[s], d, s);
    }
  for (int32_t i = 0; i < 4; ++i) {
    ASSERT_EQ(drawn[i].tokens.size(), 25u);
    HostBatch batch{.tokens = numbered(i, 4), .cu_seqlens = {0, 29}, .parent = {-1}, .rows = {}, .targets = {}};
    for (int32_t t = 0; t < 25; ++t) {
      batch.tokens.push_back(drawn[i].tokens[size_t(t)]);
      batch.rows.push_back(3 + t);
      batch.targets.push_back(drawn[i].tokens[size_t(t)]);
    }
    EXPECT_EQ(models[i]->logprobs(batch, 1).logprobs, drawn[i].logprobs) << "sample " << i;
  }
}

// Logits are computed in chunks of rows, here of 16, whose ends are within requests.
TEST(MixedChunks, ChunksOfLogitsAreCutAnywhere) {
  ModelConfig c = config(1);
  c.vocab = 600'000;
  const Family all(engine(2), c);
  std::vector<TogetherRequest> list;
  for (const int responses : {1, 3, 2, 4, 1})
    list.push_back({list.size() % 2 == 0 ? all.a : all.base, pack(trees(3, responses, 37, list.size()), true, false),
                    0.5f + 0.25f * float(list.size())});
  list.push_back({all.reward, pack(trees(3, 2, 37, 9), true, true)});
  const int64_t chunk = all.base->engine()->backend().logits_rows(c.padded_vocab());
  EXPECT_LT(2 * chunk, int64_t(list[1].batch.rows.size() + list[3].batch.rows.size()));
  expect_equal(compute_together(list), one_by_one(list));
}

// Only what a changed adapter computed is emptied, and all of it when the base has changed.
TEST(MixedCache, ChangesEmptyTheSlotsThatTheyConcern) {
  Family all(engine(), config(1));
  const auto asked = [&](const std::shared_ptr<Model>& m, int32_t slot) {
    return under(m, one(numbered(slot, 5), slot, slot, kSettings[2]));
  };
  Generator g(all.base, {.slots = 4, .max_length = 40});
  g.start(asked(all.a, 0));
  g.start(asked(all.b, 1));
  g.start(asked(all.base, 2));
  scatter(*all.a, 20);
  EXPECT_EQ(g.run(1, {1, 2}).stale, std::vector<int32_t>{0});
  EXPECT_TRUE(g.run(1, {1, 2}).stale.empty());
  EXPECT_THROW(g.run(1, {0}), Error);  // it is empty
  EXPECT_TRUE(g.start(asked(all.a, 0)).stale.empty());
  // gone
  const std::weak_ptr<Model> gone = all.b;
  all.b = nullptr;
  EXPECT_TRUE(gone.expired());
  EXPECT_EQ(g.prefill(3, {1, 2}, 0).stale, std::vector<int32_t>{1});
  EXPECT_TRUE(g.prefill(3, {1, 2}, 0, all.a).stale.empty());
  all.base->initialize(3);
  EXPECT_EQ(g.start(asked(all.a, 1)).stale, (std::vector<int32_t>{0, 2, 3}));
  EXPECT_TRUE(g.start(asked(all.a, 1)).stale.empty());
}

TEST(MixedWork, EachAdaptersTermsCountForItsRows) {
  const Family all(engine(), config(1));
  const auto counted = [&](auto work) {
    const int64_t before = all.base->engine()->usage().multiply_adds;
    work();
    return all.base->engine()->usage().multiply_adds - before;
  };
  const std::vector<TogetherRequest> list = requests(all);
  EXPECT_EQ(counted([&] { compute_together(list); }), counted([&] { one_by_one(list); }));
  const int64_t tokens = all.base->engine()->usage().tokens_computed;
  compute_together(list);
  int64_t expected = 0;
  for (const TogetherRequest& request : list) expected += int64_t(request.batch.tokens.size());
  EXPECT_EQ(all.base->engine()->usage().tokens_computed - tokens, expected);
  Generator g(all.base, {.slots = 2, .max_length = 40});
  const StartRequest first = under(all.a, one({1, 2, 3}, 0, 1, kSettings[2])),
                     second = under(all.b, one({1, 2, 3}, 1, 1, kSettings[2]));
  for (int i = 0; i < 3; ++i) {  // a device that records steps has recorded them then
    g.start(first);
    g.start(second);
    const int64_t together = counted([&] { g.run(3, {0, 1}); });
    g.release({0, 1});
    g.start(first);
    g.start(second);
    EXPECT_EQ(together, counted([&] {
                g.run(3, {0});
                g.run(3, {1});
              }));
    g.release({0, 1});
  }
}

TEST(MixedCheck, ErrorsNameTheRequest) {
  const Family all(engine(1, 64), config(1)), other(all.base->engine(), config(1));
  const HostBatch batch = pack(trees(2, 2, 37, 1), true, false), rows = pack(trees(2, 2, 37, 1), true, true);
  const auto message = [](const std::vector<TogetherRequest>& list) {
    try {
      compute_together(list);
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::InvalidArgument);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message({}), "requests is empty, expected at least one");
  const std::string apart =
      "request 1: its model is neither the base of request 0's model nor an adapter to it, expected models that share "
      "one base";
  EXPECT_EQ(message({{all.a, batch}, {other.a, batch}}), apart);
  EXPECT_EQ(message({{all.base, batch}, {other.base, batch}}), apart);
  EXPECT_EQ(message({{all.a, batch}, {model(all.base->engine(), all.base->config()), batch}}), apart);
  EXPECT_EQ(message({{all.a, batch}, {all.base, rows}}), "request 1: targets has 0 entries, expected one per row, 4");
  HostBatch wrong = batch;
  wrong.tokens[1] = 37;
  EXPECT_EQ(message({{all.a, batch}, {all.b, batch}, {all.scalar, wrong}}),
            "request 2: token 1 is 37, expected an id below the vocabulary's 37");
  const HostBatch large = pack({{std::vector<int32_t>(40, 1), {std::vector<int32_t>(30, 2)}}}, true, true);
  EXPECT_NE(message({{all.reward, rows}, {all.scalar, large}}).find("request 1: "), std::string::npos);
  EXPECT_EQ(message({{all.a, batch}, {all.scalar, rows}, {all.base, batch}}), "no error");

  const StartRequest q = one({1, 2}, 0, 1, kSettings[0]);
  Generator g(all.base, {.slots = 1, .max_length = 40});
  const auto refusal = [&](auto work) {
    try {
      work();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(refusal([&] { g.start(under(other.a, q)); }), "a sample's adapter is none to the generator's model");
  EXPECT_EQ(refusal([&] { g.prefill(0, {1}, 0, other.a); }), "a sample's adapter is none to the generator's model");
  EXPECT_EQ(refusal([&] { g.start(under(all.scalar, q)); }),
            "generate needs a language model, but a sample's adapter has a scalar head");
  EXPECT_EQ(refusal([&] { Generator(all.a, {.slots = 1, .max_length = 40}); }),
            "the generator's model is an adapter, expected its base: samples name adapters");
  StartRequest unnamed = q;
  unnamed.adapter_of = {0};
  EXPECT_EQ(refusal([&] { g.start(unnamed); }), "prompt 0 has adapter 0, expected -1 or an index below 0");
}

}  // namespace
