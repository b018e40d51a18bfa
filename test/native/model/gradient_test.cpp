// Every loss of a small model against central differences of its own forward pass, and changes that must not affect a
// gradient.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <thread>

#include "test/native/model/toy.h"

namespace {

using namespace toy;

// The derivative along a random direction, by the gradient and by central differences (f32 forward: about three
// digits).
void expect_gradient(Model& model, Trainer& trainer, const std::function<double()>& loss_without_gradient,
                     const std::function<void()>& add_gradient) {
  trainer.zero();
  add_gradient();
  std::mt19937_64 rng(7);
  std::normal_distribution<float> normal;
  double slopes = 0;
  for (int trial = 0; trial < 4; ++trial) {
    double expected = 0, actual = 0;
    std::vector<std::pair<Tensor, std::vector<float>>> saved, steps;
    const float h = 2e-4f;
    model.visit_own([&](Tensor& t, const ParamSpec& spec) {
      std::vector<float> x(size_t(t.size())), d(x.size());
      model.engine()->backend().download(x.data(), t);
      for (const NamedPart& part : spec.parts) {
        const std::vector<float> g = trainer.gradient(part.name);
        size_t i = 0;
        for (const NamedPart::Piece& piece : part.pieces)
          for (int64_t at = piece.begin; at < piece.begin + piece.size; ++at, ++i) {
            float& step = d[size_t(at)];
            step = normal(rng);
            actual += double(g[i]) * step;
          }
      }
      saved.push_back({t, x});
      steps.push_back({t, d});
    });
    const auto move = [&](float by) {
      for (size_t k = 0; k < saved.size(); ++k) {
        std::vector<float> x = saved[k].second;
        for (size_t i = 0; i < x.size(); ++i) x[i] += by * steps[k].second[i];
        model.engine()->backend().upload(saved[k].first, x.data());
      }
    };
    move(h);
    const double up = loss_without_gradient();
    move(-h);
    const double down = loss_without_gradient();
    move(0);
    expected = (up - down) / (2 * double(h));
    EXPECT_NEAR(actual, expected, 1e-2 * std::fabs(expected) + 1e-2) << "trial " << trial;
    slopes += std::fabs(expected);
  }
  EXPECT_GT(slopes, 1e-2);  // a gradient of zeros would be near them too
}

class Gradient : public testing::TestWithParam<int> {};

TEST_P(Gradient, Sft) {
  auto m = model(engine(), config(GetParam()));
  Trainer trainer(m, {});
  const HostBatch batch = pack(trees(3, 2, 37, 1), true, false);
  expect_gradient(
      *m, trainer,
      [&] {
        double loss = 0;
        for (const float x : m->logprobs(batch, 1).logprobs) loss -= x;
        return loss / double(batch.rows.size());
      },
      [&] { trainer.sft(batch, 1.0f / float(batch.rows.size()), 0); });
}

TEST_P(Gradient, SftWithDropout) {
  auto m = model(engine(), config(GetParam()));
  TrainerOptions options;
  options.dropout = 0.3f;
  Trainer trainer(m, options), probe(m, options);
  const HostBatch batch = pack(trees(3, 1, 37, 2), false, false);
  expect_gradient(
      *m, trainer,
      [&] {
        probe.zero();
        return probe.sft(batch, 1, 11).loss / double(batch.rows.size());
      },
      [&] { trainer.sft(batch, 1.0f / float(batch.rows.size()), 11); });
  EXPECT_NE(probe.sft(batch, 1, 12).loss, probe.sft(batch, 1, 13).loss);
  EXPECT_EQ(probe.sft(batch, 1, 12).loss, probe.sft(batch, 1, 12).loss);
}

TEST_P(Gradient, PpoPolicy) {
  auto m = model(engine(), config(GetParam()));
  Trainer trainer(m, {});
  const HostBatch batch = pack(trees(3, 3, 37, 3), true, false);
  PolicyLossOptions o;
  std::mt19937_64 rng(5);
  std::normal_distribution<float> normal;
  o.old_logprobs = m->logprobs(batch, 0.7f).logprobs;
  for (float& x : o.old_logprobs) {
    x += 0.02f * normal(rng);
    o.advantages.push_back(normal(rng));
  }
  o.entropy_coef = 0.1f;
  o.temperature = 0.7f;
  o.scale = 1.0f / float(batch.rows.size());
  o.clip_range = 0.9f;
  expect_gradient(
      *m, trainer,
      [&] {
        const TokenLogprobs now = m->logprobs(batch, o.temperature);
        double loss = 0;
        for (size_t r = 0; r < now.logprobs.size(); ++r) {
          const double ratio = std::exp(double(now.logprobs[r]) - o.old_logprobs[r]);
          const double clipped = std::fmin(std::fmax(ratio, 1.0 - double(o.clip_range)), 1.0 + double(o.clip_range));
          loss += std::fmax(-o.advantages[r] * ratio, -o.advantages[r] * clipped) - o.entropy_coef * now.entropy[r];
        }
        return loss * o.scale;
      },
      [&] { trainer.ppo(batch, o); });
}

TEST_P(Gradient, PpoValue) {
  auto m = model(engine(), config(GetParam(), Head::kScalar));
  Trainer trainer(m, {});
  HostBatch batch = pack(trees(3, 2, 37, 4), true, false);
  ValueLossOptions o;
  std::mt19937_64 rng(6);
  std::normal_distribution<float> normal;
  o.old_values = m->scores(batch);
  for (const float v : o.old_values) o.returns.push_back(v + normal(rng));
  o.clip_range = std::numeric_limits<float>::infinity();
  o.scale = 1.0f / float(batch.rows.size());
  expect_gradient(
      *m, trainer,
      [&] {
        const std::vector<float> values = m->scores(batch);
        double loss = 0;
        for (size_t r = 0; r < values.size(); ++r) loss += 0.5 * std::pow(double(values[r]) - o.returns[r], 2);
        return loss * o.scale;
      },
      [&] { trainer.value(batch, o); });
}

TEST_P(Gradient, RewardPairs) {
  auto m = model(engine(), config(GetParam(), Head::kScalar));
  Trainer trainer(m, {});
  const HostBatch batch = pack(trees(2, 4, 37, 5), true, true);
  RewardLossOptions o;
  o.ranks = {0, 1, 1, 2, 3, 0, 2, 1};
  o.cu_groups = {0, 4, 8};
  o.scale = 0.5f;
  expect_gradient(
      *m, trainer,
      [&] {
        const std::vector<float> s = m->scores(batch);
        double loss = 0;
        for (int g = 0; g < 2; ++g) {
          double sum = 0, pairs = 0;
          for (int w = 4 * g; w < 4 * g + 4; ++w)
            for (int l = 4 * g; l < 4 * g + 4; ++l)
              if (o.ranks[size_t(w)] < o.ranks[size_t(l)]) {
                sum += std::log1p(std::exp(-(double(s[size_t(w)]) - s[size_t(l)])));
                ++pairs;
              }
          loss += sum / pairs;
        }
        return loss * o.scale;
      },
      [&] { trainer.reward(batch, o); });
}

// The prompt once with K responses: bit-identical forward, gradients within rounding of K complete sequences, fewer
// tokens computed.
TEST_P(Gradient, SharedPromptIsTheSameAsCopies) {
  auto e = engine(2);
  auto m = model(e, config(GetParam()));
  const auto data = trees(4, 5, 37, 6);
  const HostBatch shared = pack(data, true, false), copies = pack(data, false, false);
  ASSERT_EQ(shared.targets, copies.targets);
  EXPECT_EQ(m->logits(shared), m->logits(copies));
  Trainer a(m, {}), b(m, {});
  const float scale = 1.0f / float(shared.rows.size());
  const int64_t before = e->usage().tokens_computed;
  a.sft(shared, scale, 0);
  const int64_t middle = e->usage().tokens_computed;
  b.sft(copies, scale, 0);
  EXPECT_EQ(middle - before, int64_t(shared.tokens.size()));
  EXPECT_EQ(e->usage().tokens_computed - middle, int64_t(copies.tokens.size()));
  for (const ParameterInfo& p : m->parameters())
    EXPECT_LT(relative_l2(a.gradient(p.name), b.gradient(p.name)), 2e-6) << p.name;

  auto r = model(e, config(GetParam(), Head::kScalar));
  EXPECT_EQ(r->scores(pack(data, true, true)), r->scores(pack(data, false, true)));
}

TEST_P(Gradient, BitsDoNotDependOnThreadsAndForwardNotOnPasses) {
  const auto data = trees(12, 3, 37, 7);
  const HostBatch batch = pack(data, true, false);
  auto one = model(engine(1), config(GetParam())), two = model(engine(2), config(GetParam())),
       small = model(engine(2, 40), config(GetParam()));
  const float scale = 1.0f / float(batch.rows.size());
  Trainer a(one, {}), b(two, {}), c(small, {});
  EXPECT_EQ(a.sft(batch, scale, 0).row_loss, b.sft(batch, scale, 0).row_loss);
  EXPECT_EQ(all(a), all(b));
  EXPECT_EQ(
      c.sft(batch, scale, 0).row_loss, one->logprobs(batch, 1).logprobs.empty() ? std::vector<float>{} : [&] {
        std::vector<float> loss = one->logprobs(batch, 1).logprobs;
        for (float& x : loss) x = -x;
        return loss;
      }());
  EXPECT_LT(relative_l2(all(c), all(a)), 1e-6);
}

// A ranked group that spans several passes gives the gradient of the group in one pass.
// Every loss, in both number formats, in several passes and with dropout: its mask is the same the second time.
TEST_P(Gradient, CheckpointingChangesMemoryAndNoBit) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const HostBatch batch = pack(trees(5, 3, 37, 3), true, false), last = pack(trees(5, 3, 37, 3), true, true);
    const size_t R = batch.rows.size();
    struct Outcome {
      std::vector<float> language, scalar, stats;
      int64_t arena_bytes;
    };
    const auto outcome = [&](bool checkpointing) {
      ModelConfig c = config(GetParam()), scalar_config = config(GetParam(), Head::kScalar);
      c.num_layers = scalar_config.num_layers = 3;
      const auto e = engine(2, 64, dtype);
      Trainer language(model(e, c), {.dropout = 0.2f, .gradient_checkpointing = checkpointing});
      Trainer scalar(model(e, scalar_config), {.gradient_checkpointing = checkpointing});
      Outcome out;
      out.stats = language.sft(batch, 0.1f, 11).row_loss;
      const std::vector<float> zeros(R, -3.0f), ones(R, 1.0f);
      const auto ratio = language.ppo(batch, {.old_logprobs = zeros, .advantages = ones, .scale = 0.1f}).ratio;
      out.stats.insert(out.stats.end(), ratio.begin(), ratio.end());
      out.language = all(language);
      RewardLossOptions reward{.ranks = {}, .cu_groups = {0}, .scale = 1};
      for (int32_t r = 0; r < int32_t(last.rows.size()); ++r) reward.ranks.push_back(r % 3);
      for (int32_t r = 3; r <= int32_t(last.rows.size()); r += 3) reward.cu_groups.push_back(r);
      scalar.reward(last, reward);
      scalar.value(batch, {.old_values = zeros, .returns = ones, .scale = 0.1f});
      out.scalar = all(scalar);
      out.arena_bytes = e->usage().arena_bytes;
      return out;
    };
    const Outcome whole = outcome(false), checkpointed = outcome(true);
    EXPECT_EQ(checkpointed.stats, whole.stats);
    EXPECT_EQ(checkpointed.language, whole.language);
    EXPECT_EQ(checkpointed.scalar, whole.scalar);
    EXPECT_LT(checkpointed.arena_bytes, whole.arena_bytes);
  }
}

TEST_P(Gradient, GroupsLargerThanAPass) {
  const auto data = trees(2, 6, 37, 8);
  const HostBatch copies = pack(data, false, true);
  RewardLossOptions o;
  o.ranks = {0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0};
  o.cu_groups = {0, 6, 12};
  auto whole = model(engine(1), config(GetParam(), Head::kScalar)),
       cut = model(engine(1, 24), config(GetParam(), Head::kScalar));
  Trainer a(whole, {}), b(cut, {});
  const RewardLossResult x = a.reward(copies, o), y = b.reward(copies, o);
  EXPECT_EQ(x.scores, y.scores);
  EXPECT_EQ(x.group_stats, y.group_stats);
  EXPECT_LT(relative_l2(all(b), all(a)), 1e-6);
}

// A parameter that no backward pass reaches would silently not be trained.
TEST_P(Gradient, ReachesEveryParameter) {
  auto m = model(engine(), config(GetParam()));
  Trainer trainer(m, {});
  trainer.sft(pack(trees(3, 2, 37, 1), true, false), 1, 0);
  for (const ParameterInfo& p : m->parameters()) {
    double square = 0;
    for (const float g : trainer.gradient(p.name)) square += double(g) * g;
    EXPECT_GT(square, 1e-4) << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Gradient, testing::Range(0, kKinds));

TEST(Trainer, SetAsideAddsUp) {
  auto m = model(engine(), config(0)), n = model(engine(), config(0));
  const HostBatch x = pack(trees(2, 1, 37, 9), false, false), y = pack(trees(2, 1, 37, 10), false, false);
  Trainer a(m, {}), b(n, {});
  a.sft(x, 0.1f, 0);
  const double first = a.set_aside();
  a.sft(y, 0.2f, 0);
  const StepResult parts = a.step({.learning_rate = 0.01f, .max_grad_norm = 0});
  b.sft(x, 0.1f, 0);
  b.sft(y, 0.2f, 0);
  const StepResult whole = b.step({.learning_rate = 0.01f, .max_grad_norm = 0});
  EXPECT_GT(first, 0);
  EXPECT_GT(parts.last_norm, 0);
  EXPECT_NEAR(parts.grad_norm, whole.grad_norm, 1e-5 * whole.grad_norm);
  EXPECT_LT(relative_l2(m->parameter("embedding.weight"), n->parameter("embedding.weight")), 1e-6);
}

TEST(Trainer, NonFiniteGradientTakesNoStep) {
  auto m = model(engine(), config(0));
  Trainer trainer(m, {});
  const HostBatch batch = pack(trees(1, 1, 37, 9), false, false);
  const std::vector<float> before = m->parameter("embedding.weight"), gain = m->parameter("norm.weight");
  std::vector<float> broken = gain;
  broken[0] = std::numeric_limits<float>::quiet_NaN();
  m->engine()->backend().upload(m->params().norm.weight, broken.data());
  trainer.sft(batch, 1, 0);
  EXPECT_THROW(trainer.step({.learning_rate = 0.1f, .max_grad_norm = 1}), Error);
  EXPECT_EQ(m->parameter("embedding.weight"), before);
  EXPECT_EQ(trainer.steps(), 0);
  EXPECT_THROW(trainer.sft(batch, 1, 0), Error);  // until zero()
  trainer.zero();
  m->engine()->backend().upload(m->params().norm.weight, gain.data());
  trainer.sft(batch, 1, 0);
  trainer.step({.learning_rate = 0.1f, .max_grad_norm = 1});
  EXPECT_NE(m->parameter("embedding.weight"), before);
}

// If the gradient of a policy or its value network is not finite, neither changes, nor does the average.
TEST(Trainer, StepsTogetherAreTakenByAllOrByNone) {
  const HostBatch batch = pack(trees(1, 1, 37, 9), false, false), ends = pack(trees(2, 1, 37, 9), false, true);
  for (const int broken : {0, 1}) {
    const auto e = engine();
    auto policy = model(e, config(0)), value = model(e, config(0, Head::kScalar));
    auto average = std::make_shared<Model>(e, config(0));
    average->copy_from(*policy);
    Trainer trainer(policy, {}), value_trainer(value, {});
    const std::string name = policy->parameters()[0].name, value_name = value->parameters()[0].name;
    const std::vector<float> before = policy->parameter(name), value_before = value->parameter(value_name);
    const auto losses = [&] {
      trainer.sft(batch, 1, 0);
      trainer.set_aside();
      trainer.sft(batch, 1, 0);
      value_trainer.value(ends, {.old_values = {0, 0}, .returns = {1, 2}});
    };
    const auto step = [&] {
      return step_together({{&trainer, {.learning_rate = 0.1f, .average = average.get(), .average_weight = 0.5f}},
                            {&value_trainer, {.learning_rate = 0.1f}}});
    };
    Model& poisoned = broken == 0 ? *policy : *value;
    std::vector<float> gain(size_t(poisoned.params().norm.weight.size()));
    e->backend().download(gain.data(), poisoned.params().norm.weight);
    std::vector<float> nan = gain;
    nan[0] = std::numeric_limits<float>::quiet_NaN();
    e->backend().upload(poisoned.params().norm.weight, nan.data());
    losses();
    try {
      step();
      ADD_FAILURE() << "it did not throw";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::NotFinite);
      EXPECT_NE(std::string(error.what()).find(broken == 0 ? "language model" : "scalar model"), std::string::npos);
    }
    EXPECT_EQ(policy->parameter(name), before);
    EXPECT_EQ(value->parameter(value_name), value_before);
    EXPECT_EQ(average->parameter(name), before);
    EXPECT_EQ(trainer.steps() + value_trainer.steps(), 0);

    e->backend().upload(poisoned.params().norm.weight, gain.data());
    trainer.zero();
    value_trainer.zero();
    losses();
    step();
    EXPECT_EQ(trainer.steps(), 1);
    EXPECT_EQ(value_trainer.steps(), 1);
    const std::vector<float> after = policy->parameter(name), mean = average->parameter(name);
    EXPECT_NE(after, before);
    EXPECT_NE(value->parameter(value_name), value_before);
    for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(mean[i], 0.5f * (before[i] + after[i]), 1e-6f);
  }
}

// An invalid option of the last trainer is found before the first is changed.
TEST(Trainer, StepsTogetherCheckEveryOptionFirst) {
  const auto e = engine();
  auto policy = model(e, config(0)), value = model(e, config(0, Head::kScalar));
  Trainer trainer(policy, {}), value_trainer(value, {});
  const std::string name = policy->parameters()[0].name;
  const std::vector<float> before = policy->parameter(name);
  trainer.sft(pack(trees(1, 1, 37, 9), false, false), 1, 0);
  const auto refused = [&](const TrainerStep& last) {
    EXPECT_THROW(step_together({{&trainer, {.learning_rate = 0.1f}}, last}), Error);
    EXPECT_EQ(policy->parameter(name), before);
    EXPECT_EQ(trainer.steps(), 0);
  };
  refused({&value_trainer, {.learning_rate = -1}});
  refused({&value_trainer, {.max_grad_norm = -1}});
  refused({&value_trainer, {.average = value.get(), .average_weight = 0.5f}});
  refused({&value_trainer, {.average = policy.get(), .average_weight = 0.5f}});
  refused({&trainer, {.learning_rate = 0.1f}});
  EXPECT_THROW(step_together({}), Error);
}

// A refused loss changes nothing: the accumulated gradients are kept.
TEST(Trainer, ARefusedLossLeavesTheGradients) {
  auto m = model(engine(), config(1)), scalar = model(engine(), config(1, Head::kScalar));
  Trainer trainer(m, {}), ranker(scalar, {});
  const HostBatch batch = pack(trees(2, 1, 37, 9), false, false), ends = pack(trees(2, 1, 37, 9), false, true);
  const size_t R = batch.rows.size();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  trainer.sft(batch, 1, 0);
  ranker.value(ends, {.old_values = {0, 0}, .returns = {1, 2}});
  const std::vector<float> gradient = all(trainer), of_values = all(ranker);

  EXPECT_THROW(trainer.sft(batch, nan, 0), Error);
  EXPECT_THROW(trainer.ppo(batch, {.old_logprobs = std::vector<float>(R), .advantages = {}}), Error);
  EXPECT_THROW(
      trainer.ppo(batch,
                  {.old_logprobs = std::vector<float>(R), .advantages = std::vector<float>(R), .clip_range = -1}),
      Error);
  EXPECT_THROW(ranker.value(ends, {.old_values = {0, 0}, .returns = {1, 2}, .clip_range = 0}), Error);
  EXPECT_THROW(ranker.reward(ends, {.ranks = {0, 1}, .cu_groups = {0, 2}, .scale = nan}), Error);
  EXPECT_EQ(all(trainer), gradient);
  EXPECT_EQ(all(ranker), of_values);
  trainer.step({.learning_rate = 0.1f});
  ranker.step({.learning_rate = 0.1f});
  EXPECT_EQ(trainer.steps() + ranker.steps(), 2);
}

TEST(Trainer, ACancelledStepIsTakenCompletelyOrNotAtAll) {
  auto m = model(engine(), config(0));
  Backend& b = m->engine()->backend();
  Trainer trainer(m, {});
  const HostBatch batch = pack(trees(2, 1, 37, 9), false, false);
  int taken = 0, refused = 0;
  for (int delay = 0; delay < 300; ++delay) {
    trainer.zero();
    trainer.sft(batch, 0.1f, 0);
    trainer.set_aside();
    trainer.sft(batch, 0.1f, 0);
    const std::vector<float> first = m->parameter("embedding.weight"), last = m->parameter("norm.bias");
    std::atomic<bool> cancelled{false}, started{false};
    std::thread other([&] {
      while (!started) {
      }
      const auto begin = std::chrono::steady_clock::now();
      while (std::chrono::steady_clock::now() - begin < std::chrono::nanoseconds(300) * delay) {
      }
      cancelled = true;
    });
    b.set_cancel(&cancelled);
    started = true;
    const int64_t before = trainer.steps();
    try {
      trainer.step({.learning_rate = 0.01f});
      ++taken;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::Aborted);
      ++refused;
    }
    other.join();
    b.set_cancel(nullptr);
    const bool stepped = trainer.steps() != before;
    EXPECT_EQ(m->parameter("embedding.weight") != first, stepped);
    EXPECT_EQ(m->parameter("norm.bias") != last, stepped);
  }
  EXPECT_EQ(trainer.steps(), taken);
  EXPECT_EQ(taken + refused, 300);
}

TEST(Batch, SaysWhatIsWrong) {
  auto m = model(engine(1, 16), config(1));
  HostBatch good{.tokens = {1, 2, 3}, .cu_seqlens = {0, 3}, .parent = {-1}, .rows = {0, 1}, .targets = {2, 3}};
  const auto message = [&](auto change) {
    HostBatch b = good;
    change(b);
    try {
      m->logprobs(b, 1);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message([](HostBatch&) {}), "no error");
  EXPECT_EQ(message([](HostBatch& b) { b.tokens[1] = 37; }), "token 1 is 37, expected an id below the vocabulary's 37");
  EXPECT_EQ(message([](HostBatch& b) { b.tokens[1] = -1; }), "token 1 is -1, expected an id below the vocabulary's 37");
  EXPECT_EQ(message([](HostBatch& b) { b.targets[0] = 99; }),
            "target 0 is 99, expected an id below the vocabulary's 37");
  EXPECT_EQ(message([](HostBatch& b) { b.rows[1] = 3; }), "row 1 is 3, expected a token's index below 3");
  EXPECT_EQ(message([](HostBatch& b) { b.parent[0] = 0; }),
            "parent of segment 0 is 0, expected -1 or an earlier segment");
  EXPECT_EQ(message([](HostBatch& b) { b.targets.pop_back(); }), "targets has 1 entries, expected one per row, 2");
  HostBatch unread = good;  // by logits, but they go to the device with the batch
  unread.targets.pop_back();
  try {
    m->logits(unread);
    ADD_FAILURE() << "it was accepted";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "targets has 1 entries, expected one per row, 2");
  }
  EXPECT_EQ(message([](HostBatch& b) {
              b.tokens.assign(20, 1);
              b.cu_seqlens = {0, 20};
            }),
            "the tree of segment 0 has 20 tokens, expected at most the engine's maxTokens, 16");
  EXPECT_EQ(message([](HostBatch& b) {
              b.tokens.assign(60, 1);
              b.cu_seqlens = {0, 60};
            }),
            "the sequence that ends with segment 0 has 60 tokens, expected at most the model's 48");
}

}  // namespace
