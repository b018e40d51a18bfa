// Embeddings and rotary positions.
#include "test/native/device.h"
#include "test/native/reference.h"

namespace heed {
namespace {

using namespace heed::testing;
using reference::random_normal;
using reference::relative_error;

struct Tokens {
  std::vector<int32_t> tokens, positions;
};

Tokens random_tokens(int64_t count, int64_t vocab, int64_t positions) {
  std::mt19937 rng(5);
  Tokens t;
  for (int64_t n = 0; n < count; ++n) {
    t.tokens.push_back(int32_t(rng() % uint64_t(vocab)));
    t.positions.push_back(int32_t(rng() % uint64_t(positions)));
  }
  return t;
}

TEST(Embedding, AddsTokenAndPosition) {
  on_every_device([](Device& device) {
    for (const int64_t C : {1, 7, 33, 128})
      for (const bool with_positions : {true, false}) {
        const int64_t N = 257, V = 19, T = 40;
        const Tokens t = random_tokens(N, V, T);
        const std::vector<double> wte = random_normal(size_t(V * C), 1), wpe = random_normal(size_t(T * C), 2);
        std::vector<double> expected;
        for (size_t n = 0; n < size_t(N); ++n)
          for (int64_t c = 0; c < C; ++c)
            expected.push_back(wte[size_t(t.tokens[n] * C + c)] +
                               (with_positions ? wpe[size_t(t.positions[n] * C + c)] : 0));
        const Tensor out = device.out(N, C);
        device.run(op::Embedding{.out = out,
                                 .tokens = device.i32(t.tokens, N),
                                 .positions = device.i32(t.positions, N),
                                 .wte = device.tensor(wte, V, C),
                                 .wpe = with_positions ? device.tensor(wpe, T, C) : Tensor{}});
        EXPECT_LT(relative_error(device.floats(out), expected), device.bound(expected, 1e-7));
      }
  });
}

TEST(EmbeddingBackward, AddsToWhatIsThere) {
  for (const int64_t C : {1, 7, 33, 200})
    for (const bool with_positions : {true, false}) {
      const auto run = [&](Device& device) {
        const int64_t N = 257, V = 19, T = 40;
        const Tokens t = random_tokens(N, V, T);
        const std::vector<double> dout = random_normal(size_t(N * C), 1), before = random_normal(size_t(V * C), 2),
                                  before_positions = random_normal(size_t(T * C), 3);
        std::vector<double> dwte = before, dwpe = before_positions;
        for (size_t n = 0; n < size_t(N); ++n)
          for (int64_t c = 0; c < C; ++c) {
            dwte[size_t(t.tokens[n] * C + c)] += dout[n * size_t(C) + size_t(c)];
            dwpe[size_t(t.positions[n] * C + c)] += dout[n * size_t(C) + size_t(c)];
          }
        const Tensor token_grads = device.f32(before, V, C);
        const Tensor position_grads = with_positions ? device.f32(before_positions, T, C) : Tensor{};
        device.run(op::EmbeddingBackward{.dwte = token_grads,
                                         .dwpe = position_grads,
                                         .dout = device.tensor(dout, N, C),
                                         .tokens = device.i32(t.tokens, N),
                                         .positions = device.i32(t.positions, N)});
        EXPECT_LT(relative_error(device.floats(token_grads), dwte), 1e-6);
        if (with_positions) {
          EXPECT_LT(relative_error(device.floats(position_grads), dwpe), 1e-6);
        }
        return device.floats(token_grads);
      };
      expect_same_bits_with_any_threads(run);
    }
}

// (x_j, x_{j+R/2}) as a complex number, times e^{i p θ_j}, for the first R channels of each head.
TEST(Rope, RotatesQueriesAndKeys) {
  struct Shape {
    int64_t dim, rotary;
  };
  on_every_device([](Device& device) {
    for (const auto& [D, R] : {Shape{2, 2}, Shape{6, 6}, Shape{24, 24}, Shape{64, 64}, Shape{6, 2}, Shape{20, 10},
                               Shape{64, 16}, Shape{80, 32}, Shape{5, 4}, Shape{18, 16}}) {
      const int64_t N = 33, H = 4, Hk = 2, T = 50, row = (H + 2 * Hk) * D, half = R / 2;
      const std::vector<double> qkv = random_normal(size_t(N * row), 1);
      const std::vector<int32_t> positions = random_tokens(N, 2, T).positions;
      std::vector<double> cos, sin, expected = qkv;
      for (int64_t p = 0; p < T; ++p)
        for (int64_t j = 0; j < half; ++j) {
          const double angle = double(p) * std::pow(10000.0, -2.0 * double(j) / double(R));
          cos.push_back(float(std::cos(angle)));
          sin.push_back(float(std::sin(angle)));
        }
      for (int64_t n = 0; n < N; ++n)
        for (int64_t h = 0; h < H + Hk; ++h)
          for (int64_t j = 0; j < half; ++j) {
            const size_t a = size_t(n * row + h * D + j), b = a + size_t(half);
            const size_t at = size_t(positions[size_t(n)] * half + j);
            expected[a] = qkv[a] * cos[at] - qkv[b] * sin[at];
            expected[b] = qkv[b] * cos[at] + qkv[a] * sin[at];
          }
      const Tensor x = device.tensor(qkv, N, row);
      op::Rope rope{.qkv = x,
                    .positions = device.i32(positions, N),
                    .cos = device.f32(cos, T, half),
                    .sin = device.f32(sin, T, half),
                    .num_heads = H,
                    .num_kv_heads = Hk};
      device.run(rope);
      EXPECT_LT(relative_error(device.floats(x), expected), device.bound(expected, 2e-7));
      const std::vector<float> rotated = device.floats(x);
      for (int64_t i = 0; i < N * row; ++i)
        if (i % row >= (H + Hk) * D || i % row % D >= R) {
          EXPECT_EQ(rotated[size_t(i)], float(qkv[size_t(i)]));  // values and the other channels are unchanged
        }
      rope.inverse = true;
      device.run(rope);
      EXPECT_LT(relative_error(device.floats(x), qkv), 1.5 * device.bound(expected, 3e-7));
    }
  });
}

TEST(Rope, RefusesMoreChannelsThanAHeadHas) {
  op::Rope op{.qkv = shape(4, 9),
              .positions = shape(4, 1, DType::i32),
              .cos = shape(8, 2),
              .sin = shape(8, 2),
              .num_heads = 1,
              .num_kv_heads = 1};
  expect_refused(op, "cos has 2 columns, expected 1 to half of a head's 3 channels");
}

}  // namespace
}  // namespace heed
