// Adapters: a frozen base with low-rank terms, against the same model with the terms added to its weights.
#include <gtest/gtest.h>

#include "test/native/model/adapters.h"
#include "test/native/model/samples.h"

namespace {

using namespace toy;

std::shared_ptr<Model> merged(const Model& adapter) {
  auto m = std::make_shared<Model>(adapter.engine(), adapter.config());
  m->merge(adapter);
  return m;
}

std::vector<float> values(Model& model) {
  std::vector<float> x(size_t(model.values().size()));
  model.engine()->backend().download_floats(x.data(), model.values());
  return x;
}

class Adapter : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Adapter, testing::Range(0, kKinds));

TEST_P(Adapter, ANewOneIsItsBase) {
  auto base = model(engine(), config(GetParam()));
  Model fresh(base, Head::kLanguage, targets(base->config()));
  fresh.initialize(3);
  const HostBatch batch = pack(trees(3, 2, 37, 1), true, false);
  EXPECT_EQ(fresh.logits(batch), base->logits(batch));
}

TEST_P(Adapter, MergedItIsAnOrdinaryModel) {
  for (const bool all : {true, false}) {
    auto base = model(engine(2), config(GetParam()));
    const std::vector<float> before = values(*base);
    auto adapted = adapter(base, Head::kLanguage, all);
    const HostBatch batch = pack(trees(3, 2, 37, 1), true, false);
    const std::vector<float> logits = adapted->logits(batch);
    EXPECT_LT(relative_l2(merged(*adapted)->logits(batch), logits), 2e-6);
    EXPECT_GT(relative_l2(base->logits(batch), logits), 1e-2);
    EXPECT_EQ(values(*base), before);
  }
}

// The gradient of a factor follows from that of the merged weight W + scale · B·A: dA = scale · Bᵀ·dW, dB = scale ·
// dW·Aᵀ, which is summed here in double precision.
TEST_P(Adapter, GradientsAreThoseOfTheMergedWeights) {
  auto base = model(engine(2), config(GetParam()));
  auto adapted = adapter(base);
  auto whole = merged(*adapted);
  const HostBatch batch = pack(trees(6, 2, 37, 2), true, false);
  const float scale = 1.0f / float(batch.rows.size());
  Trainer trainer(adapted, {}), full(whole, {});
  trainer.sft(batch, scale, 0);
  full.sft(batch, scale, 0);
  const bool in_out = base->config().layout == Layout::kInOut;
  for (const AdapterTarget& target : targets(base->config())) {
    const std::vector<float> dw = full.gradient(target.module + ".weight");
    const std::vector<float> a = adapted->parameter(target.module + ".lora_A.weight"),
                             b = adapted->parameter(target.module + ".lora_B.weight");
    const size_t r = size_t(target.rank), in = a.size() / r, out = b.size() / r;
    ASSERT_EQ(dw.size(), in * out);
    const auto dw_at = [&](size_t o, size_t i) { return double(in_out ? dw[i * out + o] : dw[o * in + i]); };
    std::vector<float> da(a.size()), db(b.size());
    for (size_t k = 0; k < r; ++k) {
      for (size_t i = 0; i < in; ++i) {
        double sum = 0;
        for (size_t o = 0; o < out; ++o) sum += double(b[o * r + k]) * dw_at(o, i);
        da[k * in + i] = float(double(target.scale) * sum);
      }
      for (size_t o = 0; o < out; ++o) {
        double sum = 0;
        for (size_t i = 0; i < in; ++i) sum += dw_at(o, i) * double(a[k * in + i]);
        db[o * r + k] = float(double(target.scale) * sum);
      }
    }
    EXPECT_LT(relative_l2(trainer.gradient(target.module + ".lora_A.weight"), da), 1e-5) << target.module;
    EXPECT_LT(relative_l2(trainer.gradient(target.module + ".lora_B.weight"), db), 1e-5) << target.module;
  }
}

// With dropout of the adapters' inputs: along a direction, by central differences of the loss.
TEST_P(Adapter, GradientsWithDropoutAreCentralDifferences) {
  auto adapted = adapter(model(engine(), config(GetParam())));
  Trainer trainer(adapted, {.dropout = 0.1f}), probe(adapted, {.dropout = 0.1f});
  const HostBatch batch = pack(trees(3, 2, 37, 2), true, false);
  const auto loss = [&](uint64_t seed) {
    probe.zero();
    return probe.sft(batch, 1, seed, 0.3f).loss / double(batch.rows.size());
  };
  trainer.sft(batch, 1.0f / float(batch.rows.size()), 11, 0.3f);
  const std::vector<float> at = values(*adapted);
  std::mt19937_64 rng(7);
  std::normal_distribution<float> normal;
  for (int trial = 0; trial < 4; ++trial) {
    double actual = 0;
    std::vector<float> direction(at.size());
    size_t begin = 0;
    adapted->visit_own([&](Tensor& t, const ParamSpec& spec) {
      const std::vector<float> g = trainer.gradient(spec.parts[0].name);
      size_t i = 0;
      for (const NamedPart::Piece& piece : spec.parts[0].pieces)
        for (int64_t e = piece.begin; e < piece.begin + piece.size; ++e, ++i) {
          direction[begin + size_t(e)] = normal(rng);
          actual += double(g[i]) * direction[begin + size_t(e)];
        }
      begin += size_t((t.size() + 63) / 64 * 64);
    });
    const float h = 2e-4f;
    const auto loss_at = [&](float by) {
      std::vector<float> x = at;
      for (size_t i = 0; i < x.size(); ++i) x[i] += by * direction[i];
      adapted->engine()->backend().upload_floats(adapted->values(), x.data());
      return loss(11);
    };
    const double expected = (loss_at(h) - loss_at(-h)) / (2 * double(h));
    loss_at(0);
    EXPECT_NEAR(actual, expected, 1e-2 * std::fabs(expected) + 1e-2) << "trial " << trial;
    EXPECT_GT(std::fabs(expected), 1e-3);
  }
  EXPECT_NE(loss(12), loss(13));
  EXPECT_EQ(loss(12), loss(12));
}

// Scores of an adapter to a language model, and the gradient of its head.
TEST_P(Adapter, AScalarHeadIsTrainedWithIt) {
  auto base = model(engine(2), config(GetParam()));
  auto scalar = adapter(base, Head::kScalar);
  const HostBatch batch = pack(trees(4, 2, 37, 3), true, true);
  EXPECT_LT(relative_l2(merged(*scalar)->scores(batch), scalar->scores(batch)), 2e-6);
  Trainer trainer(scalar, {}), full(merged(*scalar), {});
  RewardLossOptions o{.ranks = {0, 1, 1, 0, 0, 1, 0, 1}, .cu_groups = {0, 2, 4, 6, 8}, .scale = 0.25f};
  trainer.reward(batch, o);
  full.reward(batch, o);
  EXPECT_LT(relative_l2(trainer.gradient("score.weight"), full.gradient("score.weight")), 1e-5);
  EXPECT_THROW(Model(scalar, Head::kScalar, targets(base->config())), Error);
  EXPECT_THROW(Model(model(base->engine(), scalar->config()), Head::kLanguage, targets(base->config())), Error);
}

TEST_P(Adapter, StepsLeaveTheBaseAsItIs) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    auto base = model(engine(2, 4096, dtype), config(GetParam()));
    const std::vector<float> before = values(*base);
    auto adapted = adapter(base);
    Trainer trainer(adapted, {});
    const HostBatch batch = pack(trees(4, 2, 37, 3), true, false);
    double first = 0, last = 0;
    for (int step = 0; step < 30; ++step) {
      last = trainer.sft(batch, 1.0f / float(batch.rows.size()), 0).loss;
      if (step == 0) first = last;
      trainer.step({.learning_rate = 0.02f});
    }
    EXPECT_LT(last, 0.5 * first);
    EXPECT_EQ(values(*base), before);
  }
}

// As for a whole model: threads, passes, shared prompts, checkpointing and the key/value cache change no bit.
TEST_P(Adapter, BitsDoNotDependOnHowTheyAreComputed) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto data = trees(8, 3, 37, 7);
    const HostBatch shared = pack(data, true, false), copies = pack(data, false, false);
    const auto make = [&](int threads, int64_t max_tokens) {
      return adapter(model(engine(threads, max_tokens, dtype), config(GetParam())));
    };
    auto one = make(1, 4096), two = make(2, 4096), small = make(2, 40);
    EXPECT_EQ(one->logits(shared), two->logits(copies));
    EXPECT_EQ(one->logits(shared), small->logits(shared));
    Trainer a(one, {}), b(two, {.gradient_checkpointing = true});
    EXPECT_EQ(a.sft(shared, 0.01f, 3, 0.2f).row_loss, b.sft(shared, 0.01f, 3, 0.2f).row_loss);
    EXPECT_EQ(all(a), all(b));

    Generator generator(Model::base_of(one), {.slots = 2, .max_length = 30});
    const StartRequest q = under(one, two_samples());
    const Decoded begin = generator.start(q), rest = generator.run(8, q.slots);
    Tree tree{q.tokens, {}};
    std::vector<float> sampled;
    for (size_t i = 0; i < 2; ++i) {
      tree.responses.push_back({begin.tokens[i]});
      sampled.push_back(begin.logprobs[i]);
      for (size_t t = 0; t < 8; ++t) {
        tree.responses[i].push_back(rest.tokens[8 * i + t]);
        sampled.push_back(rest.logprobs[8 * i + t]);
      }
    }
    const HostBatch batch = pack({tree}, true, false);
    EXPECT_EQ(one->logprobs(batch, 1).logprobs, sampled);
    PolicyLossOptions o{.old_logprobs = sampled, .advantages = std::vector<float>(sampled.size(), 1)};
    a.zero();
    EXPECT_EQ(a.ppo(batch, o).ratio, std::vector<float>(sampled.size(), 1));
  }
}

TEST(AdapterMemory, ATrainerHasNoGradientsOfTheBase) {
  auto e = engine();
  auto base = model(e, config(1));
  const int64_t weights = e->usage().parameter_bytes;
  auto adapted = adapter(base);
  Trainer trainer(adapted, {});
  int64_t own = 0;
  adapted->visit_own([&](Tensor& t, const ParamSpec&) { own += (t.size() + 63) / 64 * 256; });
  EXPECT_EQ(e->usage().parameter_bytes, weights + own + 64);
  EXPECT_EQ(e->usage().optimizer_bytes, 3 * own);
}

TEST(AdapterCheck, ErrorsNameTheTarget) {
  auto base = model(engine(), config(1));
  const auto message = [&](std::vector<AdapterTarget> list) {
    try {
      Model m(base, Head::kLanguage, std::move(list));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message({}), "an adapter has no target, expected at least one linear layer");
  EXPECT_EQ(message({{"2.q", 1, 1}}), "the adapter's target 2.q is not a linear layer of the model's blocks");
  EXPECT_EQ(message({{"0.q", 0, 1}}), "the rank of 0.q is 0, expected 1 or more");
  EXPECT_EQ(message({{"0.q", 1, 1}, {"0.q", 1, 1}}), "the adapter has the target 0.q twice");
}

}  // namespace
