#include "test/native/device.h"
#include "test/native/reference_logits.h"

namespace heed {
namespace {

using reference::random_normal;
using reference::relative_error;
using testing::Device;
using testing::on_every_device;
using testing::shape;

struct Shape {
  int64_t rows, vocab, padded;
};
const std::vector<Shape> kShapes{{1, 1, 1}, {3, 7, 64}, {5, 33, 33}, {4, 257, 320}, {3, 9001, 9024}};

// Logits with padding columns of NaN, which must not be read.
std::vector<double> padded_logits(const std::vector<double>& z, const Shape& s) {
  std::vector<double> padded(size_t(s.rows * s.padded), NAN);
  for (int64_t r = 0; r < s.rows; ++r)
    for (int64_t v = 0; v < s.vocab; ++v) padded[size_t(r * s.padded + v)] = z[size_t(r * s.vocab + v)];
  return padded;
}

std::vector<int32_t> targets_of(const Shape& s) {
  std::vector<int32_t> targets;
  for (int64_t r = 0; r < s.rows; ++r) targets.push_back(int32_t(r == 0 ? s.vocab - 1 : (r * 7919) % s.vocab));
  return targets;
}

struct CrossEntropy {
  std::vector<float> row_loss, dlogits;
};
CrossEntropy cross_entropy(Device& device, const Shape& s, const std::vector<double>& z, float scale) {
  const Tensor logits = device.tensor(padded_logits(z, s), s.rows, s.padded), row_loss = device.nan(s.rows);
  device.run(op::CrossEntropyLoss{.logits = logits,
                                  .row_loss = row_loss,
                                  .targets = device.i32(targets_of(s), s.rows),
                                  .vocab = s.vocab,
                                  .scale = scale});
  return {device.floats(row_loss), device.floats(logits)};
}

TEST(CrossEntropyLoss, LossAndGradientAreTheFormula) {
  on_every_device([](Device& device) {
    for (const Shape& s : kShapes) {
      const std::vector<double> z = random_normal(size_t(s.rows * s.vocab), unsigned(s.vocab), 4);
      const float scale = 0.125f;
      const CrossEntropy actual = cross_entropy(device, s, z, scale);
      std::vector<double> loss, gradient;
      for (int64_t r = 0; r < s.rows; ++r) {
        const std::vector<double> logp = reference::log_softmax(&z[size_t(r * s.vocab)], s.vocab);
        const int32_t target = targets_of(s)[size_t(r)];
        loss.push_back(-logp[size_t(target)]);
        for (int64_t v = 0; v < s.padded; ++v)
          gradient.push_back(v < s.vocab ? scale * (std::exp(logp[size_t(v)]) - (v == target)) : 0);
        for (int64_t v = s.vocab; v < s.padded; ++v) EXPECT_EQ(actual.dlogits[size_t(r * s.padded + v)], 0);
      }
      EXPECT_LT(relative_error(actual.row_loss, loss), 1e-6) << "vocab " << s.vocab;
      EXPECT_LT(relative_error(actual.dlogits, gradient), device.bound(gradient, 1e-6)) << "vocab " << s.vocab;
    }
  });
}

// Rows of which a GPU keeps a part on the chip, and rows that begin anywhere; several for each of its blocks.
TEST(CrossEntropyLoss, LongAndUnalignedRows) {
  on_every_device([](Device& device) {
    for (const Shape& s : {Shape{5, 120001, 120064}, {9, 2051, 2051}, {9, 8200, 8256}}) {
      const std::vector<double> z = random_normal(size_t(s.rows * s.vocab), unsigned(s.vocab), 4);
      const CrossEntropy actual = cross_entropy(device, s, z, 1);
      for (int64_t r = 0; r < s.rows; ++r) {
        std::vector<double> gradient = reference::log_softmax(&z[size_t(r * s.vocab)], s.vocab);
        const size_t target = size_t(targets_of(s)[size_t(r)]);
        EXPECT_NEAR(actual.row_loss[size_t(r)], -gradient[target], 3e-6 * -gradient[target]);
        for (double& g : gradient) g = std::exp(g);
        gradient[target] -= 1;
        const float* row = &actual.dlogits[size_t(r * s.padded)];
        EXPECT_LT(relative_error(std::vector<float>(row, row + s.vocab), gradient), device.bound(gradient, 1e-6))
            << "row " << r << ", vocab " << s.vocab;
        for (int64_t v = s.vocab; v < s.padded; ++v) EXPECT_EQ(row[v], 0);
      }
    }
  });
}

TEST(CrossEntropyLoss, GradientIsTheCentralDifference) {
  on_every_device([](Device& device) {
    const Shape s{3, 33, 64};
    std::vector<double> z = random_normal(size_t(s.rows * s.vocab), 1, 2);
    const std::vector<double> expected = reference::central_differences(z, [&] {
      double loss = 0;
      for (int64_t r = 0; r < s.rows; ++r)
        loss -= 0.25 * reference::log_softmax(&z[size_t(r * s.vocab)], s.vocab)[size_t(targets_of(s)[size_t(r)])];
      return loss;
    });
    const std::vector<float> padded = cross_entropy(device, s, z, 0.25f).dlogits;
    std::vector<float> actual;
    for (int64_t r = 0; r < s.rows; ++r)
      actual.insert(actual.end(), padded.begin() + r * s.padded, padded.begin() + r * s.padded + s.vocab);
    EXPECT_LT(relative_error(actual, expected), device.bound(expected, 1e-6));
  });
}

TEST(CrossEntropyLoss, SameBitsWithAnyThreadsAndAlone) {
  const Shape s{40, 3001, 3008};
  const std::vector<double> z = random_normal(size_t(s.rows * s.vocab), 1, 4);
  testing::expect_same_bits_with_any_threads([&](Device& device) {
    const CrossEntropy all = cross_entropy(device, s, z, 1);
    // Row 0 of a batch of one has the target of row 0 of the whole batch.
    const CrossEntropy one = cross_entropy(device, {1, s.vocab, s.padded}, {z.begin(), z.begin() + s.vocab}, 1);
    EXPECT_TRUE(testing::equal_bits(one.dlogits, {all.dlogits.begin(), all.dlogits.begin() + s.padded}));
    EXPECT_EQ(one.row_loss[0], all.row_loss[0]);
    return all.dlogits;
  });
}

struct Logprobs {
  std::vector<float> logprobs, entropy;
};
Logprobs token_logprobs(Device& device, const Shape& s, const std::vector<double>& z, float temperature) {
  const Tensor logprobs = device.nan(s.rows), entropy = device.nan(s.rows);
  device.run(op::TokenLogprobs{.logprobs = logprobs,
                               .entropy = entropy,
                               .logits = device.tensor(padded_logits(z, s), s.rows, s.padded),
                               .targets = device.i32(targets_of(s), s.rows),
                               .vocab = s.vocab,
                               .temperature = temperature});
  return {device.floats(logprobs), device.floats(entropy)};
}

TEST(TokenLogprobs, IsTheFormula) {
  on_every_device([](Device& device) {
    for (const Shape& s : kShapes)
      for (const float temperature : {1.0f, 0.7f, 30.0f}) {
        const std::vector<double> z = random_normal(size_t(s.rows * s.vocab), unsigned(s.vocab), 4);
        const Logprobs actual = token_logprobs(device, s, z, temperature);
        for (int64_t r = 0; r < s.rows; ++r) {
          const std::vector<double> logp = reference::log_softmax(&z[size_t(r * s.vocab)], s.vocab, temperature);
          EXPECT_NEAR(actual.logprobs[size_t(r)], logp[size_t(targets_of(s)[size_t(r)])], 3e-6);
          EXPECT_NEAR(actual.entropy[size_t(r)], reference::entropy(logp), 2e-6);
        }
      }
  });
}

// Extreme logits, some of them -inf, as for forbidden tokens: probability 0, and a finite entropy.
TEST(TokenLogprobs, ExtremeLogits) {
  on_every_device([](Device& device) {
    const Shape s{2, 9001, 9001};
    std::vector<double> z = random_normal(size_t(s.rows * s.vocab), 1, 300);
    for (size_t i = 0; i < 5000; ++i) z[i] = -INFINITY;  // including the first block of row 0
    const Logprobs actual = token_logprobs(device, s, z, 1);
    for (int64_t r = 0; r < s.rows; ++r) {
      const std::vector<double> logp = reference::log_softmax(&z[size_t(r * s.vocab)], s.vocab);
      const double expected = logp[size_t(targets_of(s)[size_t(r)])];
      EXPECT_NEAR(actual.logprobs[size_t(r)], expected, 1e-6 * std::fabs(expected));
      EXPECT_NEAR(actual.entropy[size_t(r)], reference::entropy(logp), 1e-6);
    }
  });
}

// A row is summed in blocks, relative to the largest logit so far, which here rises in every block of one row and in
// none of another.
TEST(TokenLogprobs, RisingAndFallingMaxima) {
  on_every_device([](Device& device) {
    const Shape s{2, 20001, 20001};
    std::vector<double> z = random_normal(size_t(s.rows * s.vocab), 2);
    for (int64_t v = 0; v < s.vocab; ++v) {
      z[size_t(v)] = reference::exact(z[size_t(v)] + 3e-4 * double(v));
      z[size_t(s.vocab + v)] = reference::exact(z[size_t(s.vocab + v)] - 3e-4 * double(v));
    }
    const Logprobs actual = token_logprobs(device, s, z, 1);
    for (int64_t r = 0; r < s.rows; ++r) {
      const std::vector<double> logp = reference::log_softmax(&z[size_t(r * s.vocab)], s.vocab);
      EXPECT_NEAR(actual.logprobs[size_t(r)], logp[size_t(targets_of(s)[size_t(r)])], 2e-6);
      EXPECT_NEAR(actual.entropy[size_t(r)], reference::entropy(logp), 2e-6);
    }
  });
}

// A NaN is never hidden by a maximum or by another block.
TEST(TokenLogprobs, NanReachesTheLogprob) {
  on_every_device([](Device& device) {
    const Shape s{1, 9001, 9024};
    for (const size_t place : {size_t(0), size_t(17), size_t(4095), size_t(4096), size_t(8999), size_t(9000)})
      for (const double poison : {double(NAN), double(INFINITY)}) {
        std::vector<double> z = random_normal(size_t(s.vocab), 1);
        z[place] = poison;
        z[5000] = 80;  // a large logit in the same block
        const Logprobs actual = token_logprobs(device, s, z, 1);
        EXPECT_TRUE(std::isnan(actual.logprobs[0])) << place;
        EXPECT_TRUE(std::isnan(actual.entropy[0])) << place;
        const CrossEntropy loss = cross_entropy(device, s, z, 1);
        EXPECT_TRUE(std::isnan(loss.row_loss[0])) << place;
        EXPECT_TRUE(std::isnan(loss.dlogits[3])) << place;
      }
  });
}

// All ops compute bit-identical log-probabilities.
TEST(Logprobs, AreTheSameBitsInEveryOp) {
  on_every_device([](Device& device) {
    for (const Shape& s : kShapes)
      for (const float temperature : {1.0f, 0.7f}) {
        const std::vector<double> z = random_normal(size_t(s.rows * s.vocab), unsigned(s.vocab), 4);
        const int64_t R = s.rows;
        const Tensor tokens = device.nan(R, 1, DType::i32), sampled = device.nan(R);
        std::vector<int32_t> counters;
        for (int64_t r = 0; r < R; ++r) counters.insert(counters.end(), {int32_t(r), 5});
        device.run(op::Sample{.tokens = tokens,
                              .logprobs = sampled,
                              .logits = device.tensor(padded_logits(z, s), R, s.padded),
                              .seeds = device.i32(std::vector<int32_t>(size_t(2 * R), 3), R, 2),
                              .counters = device.i32(counters, R, 2),
                              .temperatures = device.f32(std::vector<double>(size_t(R), temperature), R),
                              .top_k = device.i32(std::vector<int32_t>(size_t(R), 0), R),
                              .top_p = device.f32(std::vector<double>(size_t(R), 1), R),
                              .vocab = s.vocab});

        const Tensor scored = device.nan(R);
        device.run(op::TokenLogprobs{.logprobs = scored,
                                     .logits = device.tensor(padded_logits(z, s), R, s.padded),
                                     .targets = tokens,
                                     .vocab = s.vocab,
                                     .temperature = temperature});
        EXPECT_TRUE(testing::equal_bits(device.floats(scored), device.floats(sampled)));

        const Tensor stats = device.nan(R, op::kNumPolicyStats);
        device.run(op::PpoPolicyLoss{.logits = device.tensor(padded_logits(z, s), R, s.padded),
                                     .row_stats = stats,
                                     .targets = tokens,
                                     .old_logprobs = sampled,
                                     .advantages = device.f32(random_normal(size_t(R), 1), R),
                                     .vocab = s.vocab,
                                     .clip_range = 0.2f,
                                     .dual_clip = 0,
                                     .entropy_coef = 0,
                                     .temperature = temperature,
                                     .scale = 1});
        const std::vector<float> rows = device.floats(stats);
        for (size_t r = 0; r < size_t(R); ++r) {
          EXPECT_EQ(rows[r * op::kNumPolicyStats + op::kPolicyLogprob], device.floats(sampled)[r]);
          EXPECT_EQ(rows[r * op::kNumPolicyStats + op::kPolicyRatio], 1.0f);
        }

        if (temperature != 1) continue;
        const Tensor row_loss = device.nan(R);
        device.run(op::CrossEntropyLoss{.logits = device.tensor(padded_logits(z, s), R, s.padded),
                                        .row_loss = row_loss,
                                        .targets = tokens,
                                        .vocab = s.vocab,
                                        .scale = 1});
        for (int64_t r = 0; r < R; ++r)
          EXPECT_EQ(-device.floats(row_loss)[size_t(r)], device.floats(sampled)[size_t(r)]);
      }
  });
}

TEST(LogitsCheck, BadShapesAreRefused) {
  op::CrossEntropyLoss loss{
      .logits = shape(4, 64), .row_loss = shape(4), .targets = shape(4, 1, DType::i32), .vocab = 65, .scale = 1};
  testing::expect_refused(loss, "vocab is 65, expected at most the 64 columns of logits");
  loss.vocab = 50;
  loss.row_loss = {};
  testing::expect_refused(loss, "row_loss is (0, 1), expected (4, 1)");
  testing::expect_refused(op::TokenLogprobs{.logprobs = shape(4),
                                            .logits = shape(4, 64),
                                            .targets = shape(4, 1, DType::i32),
                                            .vocab = 50,
                                            .temperature = 0},
                          "temperature must be positive, got 0");
}

}  // namespace
}  // namespace heed
