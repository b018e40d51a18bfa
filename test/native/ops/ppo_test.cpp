#include "test/native/device.h"
#include "test/native/reference_ppo.h"

namespace heed {
namespace {

using reference::random_normal;
using reference::relative_error;
using testing::Device;
using testing::equal_bits;
using testing::on_every_device;
using testing::shape;

reference::PpoPolicy random_case(int64_t rows, int64_t vocab, unsigned seed) {
  reference::PpoPolicy p{rows, vocab, random_normal(size_t(rows * vocab), seed, 2),
                         {},   {},    random_normal(size_t(rows), seed + 1),
                         0.2,  0,     0,
                         1,    0.125};
  const std::vector<double> drift = random_normal(size_t(rows), seed + 2, 0.3);
  for (int64_t r = 0; r < rows; ++r) {
    p.targets.push_back(int32_t((r * 7919 + vocab - 1) % vocab));
    const std::vector<double> logp = reference::log_softmax(&p.logits[size_t(r * vocab)], vocab);
    p.old_logprobs.push_back(float(logp[size_t(p.targets.back())] + drift[size_t(r)]));
  }
  return p;
}

struct Result {
  std::vector<float> stats, dlogits;  // dlogits without its padding
  float stat(int64_t row, op::PpoPolicyStat which) const { return stats[size_t(row * op::kNumPolicyStats + which)]; }
};
Result run(Device& device, const reference::PpoPolicy& p, int64_t padding = 0) {
  const int64_t padded = p.vocab + padding;
  std::vector<double> z(size_t(p.rows * padded), NAN);
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t v = 0; v < p.vocab; ++v) z[size_t(r * padded + v)] = p.logits[size_t(r * p.vocab + v)];
  const Tensor logits = device.tensor(z, p.rows, padded), stats = device.nan(p.rows, op::kNumPolicyStats);
  device.run(op::PpoPolicyLoss{.logits = logits,
                               .row_stats = stats,
                               .targets = device.i32(p.targets, p.rows),
                               .old_logprobs = device.f32(p.old_logprobs, p.rows),
                               .advantages = device.f32(p.advantages, p.rows),
                               .vocab = p.vocab,
                               .clip_range = float(p.clip_range),
                               .dual_clip = float(p.dual_clip),
                               .entropy_coef = float(p.entropy_coef),
                               .temperature = float(p.temperature),
                               .scale = float(p.scale)});
  Result result{device.floats(stats), {}};
  const std::vector<float> all = device.floats(logits);
  for (int64_t r = 0; r < p.rows; ++r) {
    const auto row = all.begin() + r * padded;
    result.dlogits.insert(result.dlogits.end(), row, row + p.vocab);
    for (int64_t v = p.vocab; v < padded; ++v) EXPECT_EQ(row[v], 0) << "padding of row " << r;
  }
  return result;
}

// Settings that cover every branch of the loss.
std::vector<reference::PpoPolicy> settings(const reference::PpoPolicy& base) {
  std::vector<reference::PpoPolicy> list(5, base);
  list[1].entropy_coef = 0.01f;
  list[2].temperature = 0.7f;
  list[3].temperature = 1.5f;
  list[3].entropy_coef = -0.02f;
  list[4].dual_clip = 1.1f;
  list[4].clip_range = 0.5;
  for (reference::PpoPolicy& p : list) {
    p.clip_range = float(p.clip_range);
    // Rows whose advantage is negative and whose ratio is large, for the dual clip.
    if (p.rows > 2) {
      p.advantages[2] = -1;
      p.old_logprobs[2] = float(
          reference::log_softmax(&p.logits[size_t(2 * p.vocab)], p.vocab, p.temperature)[size_t(p.targets[2])] - 1);
    }
  }
  return list;
}

TEST(PpoPolicyLoss, StatsAreTheFormula) {
  on_every_device([](Device& device) {
    for (const int64_t vocab : {2, 7, 33, 257, 5003}) {
      int clipped = 0;
      for (const reference::PpoPolicy& p : settings(random_case(9, vocab, unsigned(vocab)))) {
        const Result actual = run(device, p, 13);
        for (int64_t r = 0; r < p.rows; ++r) {
          const reference::PpoPolicy::Row row = p.row(r);
          EXPECT_NEAR(actual.stat(r, op::kPolicyLoss), row.loss, 5e-6 * (1 + std::fabs(row.loss)));
          EXPECT_NEAR(actual.stat(r, op::kPolicyLogprob), row.logprob, 3e-6);
          EXPECT_NEAR(actual.stat(r, op::kPolicyRatio), row.ratio, 5e-6 * row.ratio);
          EXPECT_EQ(actual.stat(r, op::kPolicyClipped), row.clipped);
          EXPECT_NEAR(actual.stat(r, op::kPolicyEntropy), row.entropy, 2e-6);
          clipped += row.clipped;
        }
      }
      EXPECT_GT(clipped, 3) << "the cases must reach the clipped branches";
    }
  });
}

TEST(PpoPolicyLoss, GradientIsTheCentralDifference) {
  on_every_device([](Device& device) {
    for (unsigned seed = 0; seed < 4; ++seed)
      for (reference::PpoPolicy p : settings(random_case(6, 19, 100 + seed))) {
        const Result actual = run(device, p, 45);
        const std::vector<double> expected = reference::central_differences(p.logits, [&] { return p.loss(); });
        EXPECT_LT(relative_error(actual.dlogits, expected), device.bound(expected, 2e-6));
      }
  });
}

// The gradient in closed form, for a vocabulary of several blocks: d loss / d logprob is a finite difference of the
// reference.
TEST(PpoPolicyLoss, GradientAtALargeVocabulary) {
  on_every_device([](Device& device) {
    for (const reference::PpoPolicy& p : settings(random_case(5, 9001, 3))) {
      const Result actual = run(device, p);
      std::vector<double> expected;
      for (int64_t r = 0; r < p.rows; ++r) {
        const std::vector<double> logp = reference::log_softmax(&p.logits[size_t(r * p.vocab)], p.vocab, p.temperature);
        const reference::PpoPolicy::Row row = p.row(r);
        const double dlogprob = row.clipped ? 0 : -p.advantages[size_t(r)] * row.ratio;
        for (int64_t v = 0; v < p.vocab; ++v) {
          const double prob = std::exp(logp[size_t(v)]);
          expected.push_back(p.scale / p.temperature *
                             (dlogprob * ((v == p.targets[size_t(r)]) - prob) +
                              p.entropy_coef * prob * (logp[size_t(v)] + row.entropy)));
        }
      }
      EXPECT_LT(relative_error(actual.dlogits, expected), device.bound(expected, 2e-6));
    }
  });
}

// With the log-probabilities that the op itself reports, the ratio is exactly 1, so the first step is the plain policy
// gradient.
TEST(PpoPolicyLoss, FirstRatioIsExactlyOne) {
  on_every_device([](Device& device) {
    for (const double temperature : {1.0, 0.7}) {
      reference::PpoPolicy p = random_case(33, 1001, 5);
      p.temperature = temperature;
      const Result first = run(device, p);
      for (int64_t r = 0; r < p.rows; ++r) p.old_logprobs[size_t(r)] = first.stat(r, op::kPolicyLogprob);
      const Result second = run(device, p);
      for (int64_t r = 0; r < p.rows; ++r) {
        EXPECT_EQ(second.stat(r, op::kPolicyRatio), 1.0f);
        EXPECT_EQ(second.stat(r, op::kPolicyClipped), 0.0f);
        EXPECT_EQ(second.stat(r, op::kPolicyLoss), -float(p.advantages[size_t(r)]));
      }
    }
  });
}

TEST(PpoPolicyLoss, NanReachesTheStatsAndTheGradient) {
  on_every_device([](Device& device) {
    for (const size_t place : {size_t(0), size_t(1000), size_t(4500), size_t(9000)}) {
      reference::PpoPolicy p = random_case(2, 9001, 6);
      p.logits[place] = NAN;
      const Result actual = run(device, p);
      for (const op::PpoPolicyStat which :
           {op::kPolicyLoss, op::kPolicyLogprob, op::kPolicyRatio, op::kPolicyEntropy}) {
        EXPECT_TRUE(std::isnan(actual.stat(0, which))) << which;
        EXPECT_FALSE(std::isnan(actual.stat(1, which))) << which;
      }
      EXPECT_TRUE(std::isnan(actual.dlogits[5]));
      EXPECT_FALSE(std::isnan(actual.dlogits[9001 + 5]));
    }
    reference::PpoPolicy p = random_case(1, 33, 7);
    p.old_logprobs[0] = NAN;
    EXPECT_TRUE(std::isnan(run(device, p).stat(0, op::kPolicyLoss)));
  });
}

TEST(PpoPolicyLoss, SameBitsWithAnyThreadsAndAlone) {
  const reference::PpoPolicy p = random_case(50, 3001, 8);
  testing::expect_same_bits_with_any_threads([&](Device& device) {
    Result all = run(device, p);
    reference::PpoPolicy one = p;
    one.rows = 1;
    one.logits.assign(p.logits.begin() + 20 * p.vocab, p.logits.begin() + 21 * p.vocab);
    one.targets = {p.targets[20]};
    one.old_logprobs = {p.old_logprobs[20]};
    one.advantages = {p.advantages[20]};
    EXPECT_TRUE(
        equal_bits(run(device, one).dlogits, {all.dlogits.begin() + 20 * p.vocab, all.dlogits.begin() + 21 * p.vocab}));
    all.dlogits.insert(all.dlogits.end(), all.stats.begin(), all.stats.end());
    return all.dlogits;
  });
}

TEST(PpoValueLoss, LossAndGradientAreTheFormula) {
  on_every_device([](Device& device) {
    for (const int64_t rows : {1, 7, 257})
      for (const float clip_range : {0.2f, INFINITY}) {
        std::vector<double> values = random_normal(size_t(rows), 1), old_values = random_normal(size_t(rows), 2, 0.3);
        const std::vector<double> returns = random_normal(size_t(rows), 3);
        for (size_t r = 0; r < values.size(); ++r) old_values[r] = float(old_values[r] + values[r]);
        const float scale = 0.25f;
        const Tensor dvalues = device.nan(rows), stats = device.nan(rows, op::kNumValueStats);
        device.run(op::PpoValueLoss{.dvalues = dvalues,
                                    .row_stats = stats,
                                    .values = device.f32(values, rows),
                                    .old_values = device.f32(old_values, rows),
                                    .returns = device.f32(returns, rows),
                                    .clip_range = clip_range,
                                    .scale = scale});
        const auto row_loss = [&](size_t r) {
          return reference::value_loss(values[r], old_values[r], returns[r], clip_range);
        };
        const std::vector<double> expected = reference::central_differences(values, [&] {
          double sum = 0;
          for (size_t r = 0; r < values.size(); ++r) sum += scale * row_loss(r);
          return sum;
        });
        EXPECT_LT(relative_error(device.floats(dvalues), expected), 1e-6);
        for (size_t r = 0; r < values.size(); ++r) {
          const std::vector<float> row = device.floats(stats);
          EXPECT_NEAR(row[r * op::kNumValueStats + op::kValueLoss], row_loss(r), 1e-6 * (1 + row_loss(r)));
          const bool clipped = row_loss(r) > 0.5 * std::pow(values[r] - returns[r], 2);
          EXPECT_EQ(row[r * op::kNumValueStats + op::kValueClipped], clipped);
        }
      }
  });
}

TEST(PpoValueLoss, NanReachesTheLoss) {
  on_every_device([](Device& device) {
    const Tensor dvalues = device.nan(1), stats = device.f32({0, 0}, 1, op::kNumValueStats);
    device.run(op::PpoValueLoss{.dvalues = dvalues,
                                .row_stats = stats,
                                .values = device.f32({NAN}, 1),
                                .old_values = device.f32({0}, 1),
                                .returns = device.f32({1}, 1),
                                .clip_range = 0.2f,
                                .scale = 1});
    EXPECT_TRUE(std::isnan(device.floats(stats)[op::kValueLoss]));
    EXPECT_TRUE(std::isnan(device.floats(dvalues)[0]));
  });
}

TEST(PpoCheck, BadShapesAreRefused) {
  op::PpoPolicyLoss policy{.logits = shape(2, 64),
                           .row_stats = shape(2, op::kNumPolicyStats),
                           .targets = shape(2, 1, DType::i32),
                           .old_logprobs = shape(2),
                           .advantages = shape(2),
                           .vocab = 50,
                           .clip_range = 0.2f,
                           .dual_clip = 0,
                           .entropy_coef = 0,
                           .temperature = 1,
                           .scale = 1};
  policy.check();
  policy.row_stats = shape(1, 4);
  testing::expect_refused(policy, "row_stats is (1, 4), expected (2, 5)");
  policy.row_stats = shape(2, op::kNumPolicyStats);
  policy.dual_clip = 0.5f;
  testing::expect_refused(policy, "dual_clip must be above 1, or 0 for none, got 0.5");
  testing::expect_refused(op::PpoValueLoss{.dvalues = shape(2),
                                           .row_stats = shape(2, op::kNumValueStats),
                                           .values = shape(2),
                                           .old_values = shape(3),
                                           .returns = shape(2),
                                           .clip_range = 0.2f,
                                           .scale = 1},
                          "old_values is (3, 1), expected (2, 1)");
}

}  // namespace
}  // namespace heed
