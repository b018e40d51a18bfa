// bf16 compared with f32: the same curves, and the expected memory.
#include <gtest/gtest.h>

#include "test/native/model/toy.h"

namespace {

using namespace toy;

// The same model in both types: the weights are exact in bf16.
struct Pair {
  std::shared_ptr<Model> half, full;

  explicit Pair(const ModelConfig& c) : half(model(engine(2, 4096, DType::bf16), c)), full(model(engine(2), c)) {
    std::vector<std::vector<float>> values;
    half->visit_own([&](Tensor& t, const ParamSpec&) {
      values.emplace_back(size_t(t.size()));
      half->engine()->backend().download_floats(values.back().data(), t);
    });
    size_t i = 0;
    full->visit_own(
        [&](Tensor& t, const ParamSpec&) { full->engine()->backend().upload_floats(t, values[i++].data()); });
  }
};

class Bf16 : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Bf16, testing::Range(0, kKinds));

TEST_P(Bf16, TheLossCurveOfSftIsThatOfF32) {
  Pair pair(config(GetParam()));
  Trainer half(pair.half, {}), full(pair.full, {});
  const HostBatch batch = pack(trees(12, 2, 37, 4), true, false);
  const float scale = 1.0f / float(batch.rows.size());
  // Twelve short trees are nearly known by heart at the end: a single late step may be off by more than the curve is.
  constexpr int kSteps = 40;
  double first = 0, last = 0, off = 0;
  for (int step = 0; step < kSteps; ++step) {
    const double a = half.sft(batch, scale, 0).loss, b = full.sft(batch, scale, 0).loss;
    if (step == 0) first = b;
    EXPECT_NEAR(a, b, 0.02 * first) << "step " << step;
    off += std::fabs(a - b) / b / kSteps;
    last = b;
    half.step({.learning_rate = 2e-3f, .max_grad_norm = 1});
    full.step({.learning_rate = 2e-3f, .max_grad_norm = 1});
  }
  EXPECT_LT(off, 0.02);
  EXPECT_LT(last, 0.8 * first) << "it must learn something";
}

TEST_P(Bf16, TheCurveOfPpoIsThatOfF32) {
  Pair pair(config(GetParam()));
  Trainer half(pair.half, {}), full(pair.full, {});
  const HostBatch batch = pack(trees(12, 2, 37, 5), true, false);
  PolicyLossOptions a, b;
  a.scale = 1.0f / float(batch.rows.size());
  for (size_t r = 0; r < batch.rows.size(); ++r) a.advantages.push_back(r % 3 == 0 ? 1.0f : -0.4f);
  b = a;
  a.old_logprobs = pair.half->logprobs(batch, 1).logprobs;
  b.old_logprobs = pair.full->logprobs(batch, 1).logprobs;
  double entropy = 0, last_entropy = 0;
  for (int step = 0; step < 20; ++step) {
    const PolicyLossResult x = half.ppo(batch, a), y = full.ppo(batch, b);
    if (step == 0) {
      for (const float ratio : x.ratio) EXPECT_EQ(ratio, 1.0f);
      entropy = y.entropy;
    }
    last_entropy = y.entropy;
    // The mean surrogate is small compared with its terms: 2 % of their size.
    EXPECT_NEAR(x.loss, y.loss, 0.02 * 0.6 * double(batch.rows.size())) << "step " << step;
    EXPECT_NEAR(x.entropy, y.entropy, 0.02 * y.entropy) << "step " << step;
    half.step({.learning_rate = 1e-3f, .max_grad_norm = 1});
    full.step({.learning_rate = 1e-3f, .max_grad_norm = 1});
  }
  EXPECT_GT(std::fabs(last_entropy - entropy), 0.002 * entropy) << "the policy must move";
}

TEST_P(Bf16, ScoresAndTheRewardLossAreThoseOfF32) {
  Pair pair(config(GetParam(), Head::kScalar));
  const HostBatch ends = pack(trees(6, 4, 37, 6), true, true);
  const std::vector<float> a = pair.half->scores(ends), b = pair.full->scores(ends);
  double most = 0;
  for (const float x : b) most = std::max(most, std::fabs(double(x)));
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 0.03 * most);
  Trainer half(pair.half, {}), full(pair.full, {});
  RewardLossOptions o;
  for (int i = 0; i < 24; ++i) o.ranks.push_back(i % 4);
  o.cu_groups = {0, 4, 8, 12, 16, 20, 24};
  o.scale = 1.0f / 6;
  double a_loss = 0, b_loss = 0;
  for (int step = 0; step < 30; ++step) {
    a_loss = b_loss = 0;
    const auto sum = [](const RewardLossResult& r) {
      double loss = 0;
      for (size_t g = 0; g < r.group_stats.size(); g += op::kNumPairwiseStats) loss += double(r.group_stats[g]);
      return loss;
    };
    a_loss = sum(half.reward(ends, o));
    b_loss = sum(full.reward(ends, o));
    half.step({.learning_rate = 1e-3f, .max_grad_norm = 1});
    full.step({.learning_rate = 1e-3f, .max_grad_norm = 1});
  }
  EXPECT_NEAR(a_loss, b_loss, 0.03 * b_loss + 0.02);
}

// Steps far below bf16's precision accumulate in the float32 weights.
TEST(Bf16Trainer, SmallStepsAddUp) {
  const ModelConfig c = config(0);
  const auto m = model(engine(1, 4096, DType::bf16), c);
  Trainer trainer(m, {});
  const HostBatch batch = pack(trees(4, 1, 37, 4), false, false);
  const std::vector<float> before = m->parameter("norm.weight");
  for (int step = 0; step < 60; ++step) {
    trainer.sft(batch, 0.05f, 0);
    trainer.step({.learning_rate = 2e-4f, .max_grad_norm = 0});
  }
  const std::vector<float> after = m->parameter("norm.weight");
  double moved = 0;
  for (size_t i = 0; i < before.size(); ++i) moved = std::max(moved, std::fabs(double(after[i]) - double(before[i])));
  EXPECT_GT(moved, 0.004) << "60 steps of 2e-4 beside values of about 1, whose spacing is 0.008";
}

// Half the memory for parameters and activations; the optimizer has four floats per parameter instead of three.
TEST(Bf16Trainer, HasItsMemory) {
  const Pair pair(config(1));
  const Trainer half(pair.half, {}), full(pair.full, {});
  const Usage a = pair.half->engine()->usage(), b = pair.full->engine()->usage();
  EXPECT_LT(a.parameter_bytes, 0.8 * double(b.parameter_bytes));  // rotary tables are float32
  EXPECT_EQ(3 * a.optimizer_bytes, 4 * b.optimizer_bytes);
}

}  // namespace
