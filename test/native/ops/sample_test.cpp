#include <set>

#include "native/core/rng.h"
#include "test/native/device.h"
#include "test/native/reference_sample.h"

namespace heed {
namespace {

using reference::random_normal;
using testing::Device;
using testing::on_every_device;
using testing::shape;

struct Settings {
  float temperature = 1;
  int64_t top_k = 0;
  float top_p = 1;
};
struct Drawn {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
};

// Row b of logits (rows, vocab) with its settings and the counters (b, position); each row is padded with 3 columns of
// NaN.
Drawn sample_rows(Device& device, const std::vector<double>& z, const std::vector<Settings>& settings, int32_t seed = 1,
                  int32_t first = 0) {
  const int64_t rows = int64_t(settings.size()), vocab = int64_t(z.size()) / rows, padded = vocab + 3;
  std::vector<double> logits(size_t(rows * padded), NAN);
  std::vector<int32_t> seeds, counters, top_k;
  std::vector<double> temperatures, top_p;
  for (int64_t b = 0; b < rows; ++b) {
    for (int64_t v = 0; v < vocab; ++v) logits[size_t(b * padded + v)] = z[size_t(b * vocab + v)];
    seeds.insert(seeds.end(), {seed, 77});
    counters.insert(counters.end(), {first + int32_t(b), 9});
    temperatures.push_back(settings[size_t(b)].temperature);
    top_k.push_back(int32_t(settings[size_t(b)].top_k));
    top_p.push_back(settings[size_t(b)].top_p);
  }
  const Tensor tokens = device.nan(rows, 1, DType::i32), logprobs = device.nan(rows);
  device.run(op::Sample{.tokens = tokens,
                        .logprobs = logprobs,
                        .logits = device.tensor(logits, rows, padded),
                        .seeds = device.i32(seeds, rows, 2),
                        .counters = device.i32(counters, rows, 2),
                        .temperatures = device.f32(temperatures, rows),
                        .top_k = device.i32(top_k, rows),
                        .top_p = device.f32(top_p, rows),
                        .vocab = vocab});
  return {device.ints(tokens), device.floats(logprobs)};
}
Drawn sample_rows(Device& device, const std::vector<double>& z, int64_t rows, const Settings& s, int32_t seed = 1,
                  int32_t first = 0) {
  return sample_rows(device, z, std::vector<Settings>(size_t(rows), s), seed, first);
}

// `count` samples from one row of logits.
Drawn draw(Device& device, const std::vector<double>& z, int64_t count, const Settings& s) {
  std::vector<double> rows;
  for (int64_t b = 0; b < count; ++b) rows.insert(rows.end(), z.begin(), z.end());
  return sample_rows(device, rows, count, s);
}

// Pearson's statistic over the tokens with enough expected samples, normalised to mean 0 and standard deviation 1.
// Tokens of probability 0 must not occur.
void expect_frequencies(const std::vector<int32_t>& tokens, const std::vector<double>& prob) {
  std::vector<double> count(prob.size());
  for (const int32_t token : tokens) {
    ASSERT_TRUE(token >= 0 && size_t(token) < prob.size()) << token;
    ASSERT_GT(prob[size_t(token)], 0) << "token " << token;
    ++count[size_t(token)];
  }
  double chi_square = 0, rare_expected = 0, rare_count = 0;
  int cells = -1;
  const auto cell = [&](double expected, double observed) {
    chi_square += (observed - expected) * (observed - expected) / expected;
    ++cells;
  };
  for (size_t v = 0; v < prob.size(); ++v) {
    const double expected = prob[v] * double(tokens.size());
    if (expected >= 10) {
      cell(expected, count[v]);
    } else {
      rare_expected += expected;
      rare_count += count[v];
    }
  }
  if (rare_expected >= 10) cell(rare_expected, rare_count);
  if (cells > 0) {
    EXPECT_LT((chi_square - cells) / std::sqrt(2.0 * cells), 5);
  }
}

// Known answers of the authors' Random123 distribution.
TEST(Philox, KnownAnswers) {
  const auto expect = [](rng::Bits actual, std::vector<uint32_t> expected) {
    EXPECT_EQ(std::vector<uint32_t>(actual.x, actual.x + 4), expected);
  };
  expect(rng::philox(0, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  expect(rng::philox(~0ull, ~0ull, ~0ull), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect(rng::philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(Sample, FrequenciesAreTheDistribution) {
  on_every_device([](Device& device) {
    for (const int64_t vocab : {1, 2, 7, 33, 257, 3001})
      for (const Settings& s : {Settings{}, Settings{.temperature = 0.7f}, Settings{.top_k = 5},
                                Settings{.top_p = 0.8f}, Settings{.temperature = 1.3f, .top_k = 20, .top_p = 0.6f}}) {
        const std::vector<double> z = random_normal(size_t(vocab), unsigned(vocab), 1.5);
        const Drawn drawn = draw(device, z, (vocab < 1000 ? 3000 : 300) / testing::kSlowness, s);
        expect_frequencies(drawn.tokens, reference::sampling_distribution(z, s.temperature, size_t(s.top_k), s.top_p));
        // The reported log-probability is that of the unfiltered distribution.
        const std::vector<double> logp = reference::log_softmax(z.data(), vocab, s.temperature);
        for (size_t b = 0; b < 100 && b < drawn.tokens.size(); ++b)
          EXPECT_NEAR(drawn.logprobs[b], logp[size_t(drawn.tokens[b])], 2e-6);
      }
  });
}

// Exactly the tokens that the filters keep are sampled.
TEST(Sample, FiltersKeepExactlyTheirTokens) {
  on_every_device([](Device& device) {
    std::vector<double> z = random_normal(50, 3, 0.1);
    z[40] = z[10] = z[20] = z[30] = 0.5;  // ties at the top
    for (const Settings& s :
         {Settings{.top_k = 1}, Settings{.top_k = 2}, Settings{.top_k = 3}, Settings{.top_k = 7}, Settings{.top_k = 49},
          Settings{.top_p = 0.05f}, Settings{.top_p = 0.08f}, Settings{.top_p = 0.5f}, Settings{.top_p = 0.999f},
          Settings{.top_k = 3, .top_p = 0.6f}, Settings{.top_k = 10, .top_p = 0.2f}}) {
      const Drawn drawn = draw(device, z, testing::kSlowness > 1 ? 500 : 3000, s);
      const std::vector<double> prob = reference::sampling_distribution(z, s.temperature, size_t(s.top_k), s.top_p);
      std::set<int32_t> expected;
      for (size_t v = 0; v < prob.size(); ++v)
        if (prob[v] > 0) expected.insert(int32_t(v));
      EXPECT_EQ(std::set<int32_t>(drawn.tokens.begin(), drawn.tokens.end()), expected)
          << "top_k " << s.top_k << ", top_p " << s.top_p;
    }
  });
}

TEST(Sample, TiesAreKeptInTheOrderOfTheirIds) {
  on_every_device([](Device& device) {
    const std::vector<double> z(1000, 2.0);
    for (const Settings& s :
         {Settings{.top_k = 3}, Settings{.top_p = 0.00299f}, Settings{.top_k = 100, .top_p = 0.0299f}}) {
      const Drawn drawn = draw(device, z, testing::kSlowness > 1 ? 30 : 200, s);
      EXPECT_EQ(std::set<int32_t>(drawn.tokens.begin(), drawn.tokens.end()), (std::set<int32_t>{0, 1, 2}));
    }
    // One token above the others: it takes its share first.
    std::vector<double> one_above = z;
    one_above[7] = 2.5;
    for (const Settings& s : {Settings{.top_k = 3}, Settings{.top_p = 0.0035f}}) {
      const Drawn drawn = draw(device, one_above, testing::kSlowness > 1 ? 30 : 200, s);
      EXPECT_EQ(std::set<int32_t>(drawn.tokens.begin(), drawn.tokens.end()), (std::set<int32_t>{0, 1, 7}));
    }
  });
}

TEST(Sample, GreedyTakesTheLowestIdOfEquals) {
  on_every_device([](Device& device) {
    std::vector<double> z = random_normal(9001, 4);
    z[4711] = z[8000] = z[9000] = 9;
    const Drawn drawn = draw(device, z, 3, {.temperature = 0});
    EXPECT_EQ(drawn.tokens, (std::vector<int32_t>{4711, 4711, 4711}));
    EXPECT_NEAR(drawn.logprobs[0], reference::log_softmax(z.data(), 9001)[4711], 2e-6);
  });
}

// Tokens of probability 0, before or after the others, never occur in many samples.
TEST(Sample, NeverAnImpossibleToken) {
  on_every_device([](Device& device) {
    std::vector<double> z{-INFINITY, -300, 0, -INFINITY, -1, -1e30, -300, -INFINITY};
    const Drawn drawn = draw(device, z, 100000 / testing::kSlowness, {});
    expect_frequencies(drawn.tokens, {0, 0, 1 / (1 + std::exp(-1)), 0, 1 / (1 + std::exp(1)), 0, 0, 0});
    for (const Settings& s : {Settings{.top_k = 5}, Settings{.top_p = 0.9999f}, Settings{.temperature = 0}}) {
      for (const int32_t token : draw(device, z, 1000 / testing::kSlowness, s).tokens)
        EXPECT_TRUE(token == 2 || token == 4);
    }
  });
}

TEST(Sample, LargeVocabulary) {
  on_every_device([](Device& device) {
    const std::vector<double> z = random_normal(150001, 5, 2);
    for (const Settings& s : {Settings{}, Settings{.top_k = 50}, Settings{.top_p = 0.9f}}) {
      const std::vector<double> prob = reference::sampling_distribution(z, s.temperature, size_t(s.top_k), s.top_p);
      const Drawn drawn = draw(device, z, testing::kSlowness > 1 ? 4 : 20, s);
      expect_frequencies(drawn.tokens, prob);
    }
  });
}

// Tokens at the boundaries of the cumulative distribution, for the documented number: philox(seed, (index, position)).
TEST(Sample, DrawsTheDocumentedNumber) {
  on_every_device([](Device& device) {
    const std::vector<double> z = random_normal(257, 6);
    const std::vector<double> prob = reference::sampling_distribution(z, 1, 0, 1);
    const Drawn drawn = draw(device, z, 500, {});
    for (size_t b = 0; b < drawn.tokens.size(); ++b) {
      const rng::Bits bits = rng::philox(uint64_t(77) << 32 | 1, uint64_t(9) << 32 | b, 0);
      const double uniform = (bits.x[0] * 2097152.0 + (bits.x[1] >> 11)) / 9007199254740992.0;
      double below = 0;
      for (int32_t v = 0; v < drawn.tokens[b]; ++v) below += prob[size_t(v)];
      EXPECT_GT(uniform, below - 1e-6);
      EXPECT_LT(uniform, below + prob[size_t(drawn.tokens[b])] + 1e-6);
    }
  });
}

TEST(Sample, DependsOnItsSeedAndCounterOnly) {
  on_every_device([](Device& device) {
    const std::vector<double> z = random_normal(40 * 1001, 7);
    const Settings s{.top_k = 400, .top_p = 0.9f};
    const Drawn all = sample_rows(device, z, 40, s);
    const Drawn one = sample_rows(device, {z.begin() + 25 * 1001, z.begin() + 26 * 1001}, 1, s, 1, 25);
    EXPECT_EQ(one.tokens[0], all.tokens[25]);
    EXPECT_EQ(one.logprobs[0], all.logprobs[25]);
    EXPECT_NE(sample_rows(device, z, 40, s, 2).tokens, all.tokens);
    EXPECT_NE(sample_rows(device, z, 40, s, 1, 1).tokens, all.tokens);
  });
}

// A row among rows of other settings has the bits that it has alone, whichever of the kernels takes the vocabulary.
TEST(Sample, EachRowHasItsOwnSettings) {
  on_every_device([](Device& device) {
    const std::vector<Settings> settings{{},
                                         {.temperature = 0},
                                         {.temperature = 0.5f},
                                         {.top_k = 1},
                                         {.top_p = 0.01f},
                                         {.temperature = 3, .top_k = 20},
                                         {.temperature = 2, .top_p = 0.6f},
                                         {.temperature = 1.5f, .top_k = 9, .top_p = 0.7f}};
    for (const int64_t vocab : {200, 1001, 3001}) {
      const std::vector<double> z = random_normal(settings.size() * size_t(vocab), 9);
      const Drawn all = sample_rows(device, z, settings);
      for (size_t b = 0; b < settings.size(); ++b) {
        const auto row = z.begin() + int64_t(b) * vocab;
        const Drawn one = sample_rows(device, {row, row + vocab}, 1, settings[b], 1, int32_t(b));
        EXPECT_EQ(one.tokens[0], all.tokens[b]) << "vocab " << vocab << ", row " << b;
        EXPECT_EQ(one.logprobs[0], all.logprobs[b]) << "vocab " << vocab << ", row " << b;
      }
    }
  });
}

// A NaN row still gives an id of the vocabulary, with a NaN log-probability.
TEST(Sample, NanIsReported) {
  on_every_device([](Device& device) {
    for (const Settings& s : {Settings{}, Settings{.temperature = 0}, Settings{.top_k = 3}, Settings{.top_p = 0.5f}}) {
      std::vector<double> z = random_normal(33, 8);
      z[20] = NAN;
      const Drawn drawn = draw(device, z, 4, s);
      EXPECT_TRUE(drawn.tokens[0] >= 0 && drawn.tokens[0] < 33);
      EXPECT_TRUE(std::isnan(drawn.logprobs[0]));
    }
  });
}

TEST(SampleCheck, BadShapesAreRefused) {
  op::Sample sample{.tokens = shape(2, 1, DType::i32),
                    .logprobs = shape(2),
                    .logits = shape(2, 64),
                    .seeds = shape(2, 2, DType::i32),
                    .counters = shape(2, 2, DType::i32),
                    .temperatures = shape(2),
                    .top_k = shape(2, 1, DType::i32),
                    .top_p = shape(2),
                    .vocab = 50};
  sample.check();
  sample.top_p = shape(3);
  testing::expect_refused(sample, "top_p is (3, 1), expected (2, 1)");
  sample.top_p = shape(2);
  sample.temperatures = shape(1);
  testing::expect_refused(sample, "temperatures is (1, 1), expected (2, 1)");
  sample.temperatures = shape(2);
  sample.seeds = shape(2, 1, DType::i32);
  testing::expect_refused(sample, "seeds is (2, 1), expected (2, 2)");
}

}  // namespace
}  // namespace heed
