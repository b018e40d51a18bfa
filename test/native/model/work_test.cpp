// The multiply-adds that passes are said to need, against counts by hand.
#include "native/model/work.h"

#include <gtest/gtest.h>

#include "test/native/model/toy.h"

namespace {

using namespace toy;

// A prompt of 3 tokens with responses of 2 and 1.
const std::vector<Tree> kTree = {{{1, 2, 3}, {{4, 5}, {6}}}};

template <class Work>
int64_t counted(Engine& engine, Work work) {
  const int64_t before = engine.usage().multiply_adds;
  work();
  return engine.usage().multiply_adds - before;
}

// 16 channels, 4 heads of 4, an MLP of 64, 37 tokens, 2 layers. A token of a layer: q, k, v 16 · 48, output 16 · 16,
// MLP 2 · 16 · 64, together 3072. A pair of a query and a key: 4 heads · 4 channels, twice.
TEST(Work, Gpt2) {
  // Positions 0, 1, 2 of the prompt, 3, 4 and 3 of the responses: 6 tokens, 1 + 2 + 3 + 4 + 5 + 4 = 19 pairs.
  const int64_t trunk = 2 * (6 * 3072 + 19 * 32), head = 3 * 16 * 37;  // a row for each response token
  EXPECT_EQ(trunk_multiply_adds(config(0), {0, 1, 2, 3, 4, 3}), trunk);
  EXPECT_EQ(head_multiply_adds(config(0), 3), head);
  const auto e = engine();
  const auto m = model(e, config(0));
  Trainer trainer(m, {});
  const HostBatch shared = pack(kTree, true, false);
  EXPECT_EQ(counted(*e, [&] { m->logprobs(shared, 1); }), trunk + head);
  EXPECT_EQ(counted(*e, [&] { trainer.sft(shared, 1, 0); }), 3 * (trunk + head));
  EXPECT_EQ(counted(*e, [&] { trainer.step({.learning_rate = 0.1f}); }), 0);
  // As sequences of 5 and 4 tokens: 9 tokens, 15 + 10 pairs.
  EXPECT_EQ(counted(*e, [&] { trainer.sft(pack(kTree, false, false), 1, 0); }), 3 * (2 * (9 * 3072 + 25 * 32) + head));
}

// Two key/value heads and a gated MLP of 40: q, k, v 16 · 32, output 16 · 16, MLP 3 · 16 · 40, together 2688.
TEST(Work, Llama) {
  const int64_t trunk = 2 * (6 * 2688 + 19 * 32);
  EXPECT_EQ(trunk_multiply_adds(config(1), {0, 1, 2, 3, 4, 3}), trunk);
  const auto e = engine();
  Trainer trainer(model(e, config(1)), {});
  EXPECT_EQ(counted(*e, [&] { trainer.sft(pack(kTree, true, false), 1, 0); }), 3 * (trunk + 3 * 16 * 37));
}

// The second layer attends to 5 positions: position 7 has 8 pairs in the first layer and 5 in the second.
TEST(Work, SlidingWindow) {
  std::vector<int32_t> positions = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(trunk_multiply_adds(config(6), positions), 2 * 8 * 2688 + (36 + 15 + 3 * 5) * 32);
}

TEST(Work, AScalarHeadAndItsLossInOnePassAndInSeveral) {
  const auto groups = [](int64_t max_tokens, int64_t trees) {
    const auto e = engine(1, max_tokens);
    Trainer trainer(model(e, config(0, Head::kScalar)), {});
    std::vector<Tree> two(size_t(trees), kTree[0]);
    RewardLossOptions options{.ranks = {}, .cu_groups = {0, int32_t(2 * trees)}, .scale = 1};  // one group of all
    for (int32_t r = 0; r < 2 * trees; ++r) options.ranks.push_back(r);
    return counted(*e, [&] { trainer.reward(pack(two, true, true), options); });
  };
  const int64_t one = 3 * (2 * (6 * 3072 + 19 * 32) + 2 * 16);
  EXPECT_EQ(groups(64, 1), one);
  EXPECT_EQ(groups(64, 2), 2 * one);
  EXPECT_EQ(groups(6, 2), 2 * one);  // a pass for each tree: scores are computed twice, and needed once
}

TEST(Work, RecomputedActivationsDoNotCount) {
  const auto e = engine();
  const auto m = model(e, config(0));
  const HostBatch batch = pack(trees(4, 2, 37, 3), true, false);
  Trainer whole(m, {}), checkpointed(m, {.gradient_checkpointing = true});
  EXPECT_EQ(counted(*e, [&] { whole.sft(batch, 1, 0); }), counted(*e, [&] { checkpointed.sft(batch, 1, 0); }));
}

// A prompt of 3 tokens is computed once for its two samples, which then are decoded at positions 3, 4 and 5.
TEST(Work, Generation) {
  const auto e = engine();
  const auto m = model(e, config(0));
  Generator generator(m, {.slots = 2, .max_length = 30});
  const StartRequest q = two_samples();
  EXPECT_EQ(counted(*e, [&] { generator.start(q); }), 2 * (3 * 3072 + 6 * 32) + 2 * 16 * 37);
  EXPECT_EQ(counted(*e, [&] { generator.run(3, q.slots); }), 2 * (6 * 3072 + 2 * (4 + 5 + 6) * 32) + 6 * 16 * 37);
}

TEST(Work, AMachineHasAPeak) {
  const auto e = engine();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const double peak = e->backend().peak_flops(dtype);
    EXPECT_GT(peak, 1e7);
    EXPECT_LT(peak, 1e17);
  }
}

}  // namespace
