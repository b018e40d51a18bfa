#include "test/native/device.h"
#include "test/native/reference_preference.h"

namespace heed {
namespace {

using reference::relative_error;
using testing::Device;
using testing::on_every_device;
using testing::shape;

// Groups of two to nine responses, as in the paper, with ties; one group is a single response, one is all ties, one has
// more responses than a warp lanes.
reference::Pairwise random_case(size_t groups, unsigned seed) {
  std::mt19937 rng(seed);
  reference::Pairwise p;
  p.cu_groups = {0};
  for (size_t g = 0; g < groups; ++g) {
    const int size = g == 1 ? 1 : g == 3 ? 40 : 2 + int(rng() % 8);
    for (int i = 0; i < size; ++i) p.ranks.push_back(g == 2 ? 3 : int32_t(rng() % unsigned(size)));
    p.cu_groups.push_back(int32_t(p.ranks.size()));
  }
  p.scores = reference::random_normal(p.ranks.size(), seed, 2);
  return p;
}

struct Result {
  std::vector<float> dscores, stats;
};
Result run(Device& device, const reference::Pairwise& p, float scale) {
  const int64_t R = int64_t(p.scores.size()), G = int64_t(p.cu_groups.size()) - 1;
  const Tensor dscores = device.nan(R), stats = device.nan(G, op::kNumPairwiseStats);
  device.run(op::PairwiseLoss{.dscores = dscores,
                              .group_stats = stats,
                              .scores = device.f32(p.scores, R),
                              .ranks = device.i32(p.ranks, R),
                              .cu_groups = device.i32(p.cu_groups, G + 1),
                              .scale = scale});
  return {device.floats(dscores), device.floats(stats)};
}

TEST(PairwiseLoss, StatsAreTheFormula) {
  on_every_device([](Device& device) {
    reference::Pairwise p = random_case(40, 1);
    p.scores[0] = p.scores[1];  // equal scores count half
    p.ranks[0] = 0;
    p.ranks[1] = 1;
    const Result actual = run(device, p, 1);
    for (size_t g = 0; g + 1 < p.cu_groups.size(); ++g) {
      const reference::Pairwise::Group expected = p.group(g);
      const float* stats = &actual.stats[g * op::kNumPairwiseStats];
      EXPECT_NEAR(stats[op::kPairLoss], expected.loss, 1e-6 * (1 + expected.loss));
      EXPECT_EQ(stats[op::kPairs], expected.pairs);
      EXPECT_EQ(stats[op::kPairsCorrect], float(expected.correct));
    }
    EXPECT_EQ(p.group(1).pairs + p.group(2).pairs, 0) << "the cases without a pair";
  });
}

TEST(PairwiseLoss, GradientIsTheCentralDifference) {
  on_every_device([](Device& device) {
    for (unsigned seed = 0; seed < 10; ++seed) {
      reference::Pairwise p = random_case(9, seed);
      const float scale = 0.25f;
      const Result actual = run(device, p, scale);
      const std::vector<double> expected = reference::central_differences(p.scores, [&] { return scale * p.loss(); });
      EXPECT_LT(relative_error(actual.dscores, expected), 1e-6);
    }
  });
}

// For a large wrong margin the loss is linear, and its gradient neither overflows nor vanishes.
TEST(PairwiseLoss, LargeMargins) {
  on_every_device([](Device& device) {
    const reference::Pairwise p{{-500, 500, 500, -500}, {0, 1, 0, 1}, {0, 2, 4}};
    const Result actual = run(device, p, 1);
    EXPECT_EQ(actual.stats[op::kPairLoss], 1000);
    EXPECT_EQ(actual.stats[op::kNumPairwiseStats + op::kPairLoss], 0);
    EXPECT_EQ(actual.dscores, (std::vector<float>{-1, 1, 0, 0}));
  });
}

TEST(PairwiseLoss, NanReachesTheLoss) {
  on_every_device([](Device& device) {
    const Result actual = run(device, {{NAN, 1, 2, 1}, {0, 1, 0, 1}, {0, 2, 4}}, 1);
    EXPECT_TRUE(std::isnan(actual.stats[op::kPairLoss]));
    EXPECT_TRUE(std::isnan(actual.dscores[0]) && std::isnan(actual.dscores[1]));
    EXPECT_FALSE(std::isnan(actual.stats[op::kNumPairwiseStats + op::kPairLoss]));
  });
}

TEST(PairwiseLoss, SameBitsWithAnyThreads) {
  testing::expect_same_bits_with_any_threads(
      [](Device& device) { return run(device, random_case(300, 5), 0.01f).dscores; });
}

TEST(PreferenceCheck, BadShapesAreRefused) {
  op::PairwiseLoss loss{.dscores = shape(9),
                        .group_stats = shape(2, op::kNumPairwiseStats),
                        .scores = shape(9),
                        .ranks = shape(9, 1, DType::i32),
                        .cu_groups = shape(3, 1, DType::i32),
                        .scale = 1};
  loss.check();
  loss.cu_groups = shape(2, 1, DType::i32);
  testing::expect_refused(loss, "cu_groups is (2, 1), expected (3, 1)");
  loss.cu_groups = shape(3, 1, DType::i32);
  loss.ranks = shape(9);
  testing::expect_refused(loss, "ranks is f32, expected i32");
}

}  // namespace
}  // namespace heed
