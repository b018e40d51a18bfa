// The key/value cache: decoding is bit-identical to the full forward pass.
#include <algorithm>

#include "test/native/device.h"
#include "test/native/reference_attention.h"

namespace heed {
namespace {

using namespace heed::testing;

struct Shape {
  int64_t heads, kv_heads, dim, capacity, window = 0;
  float scale = 0, softcap = 0;
};
const std::vector<Shape> kShapes = {
    {4, 4, 32, 160},         {2, 2, 12, 48},     {8, 2, 24, 64},      {6, 1, 80, 96},      {5, 5, 64, 272},
    {1, 1, 4, 16},           {4, 4, 32, 160, 1}, {2, 2, 12, 272, 33}, {8, 2, 24, 272, 16}, {4, 2, 64, 160, 0, 0.3f, 2},
    {3, 3, 20, 64, 33, 1, 0}};

struct Cache {
  Cache(Device& device, const Shape& s, int64_t slots) {
    const CacheShape c = device.backend().cache_shape(device.dtype(), slots, s.capacity, s.kv_heads, s.dim);
    EXPECT_GE(c.length, s.capacity);
    keys = device.out(c.keys.rows, c.keys.cols);
    values = device.out(c.values.rows, c.values.cols);
  }
  Tensor keys, values;
};

std::vector<int32_t> range(int64_t begin, int64_t end) {
  std::vector<int32_t> values;
  for (int64_t i = begin; i < end; ++i) values.push_back(int32_t(i));
  return values;
}

void write(Device& device, const Shape& s, const Cache& cache, const std::vector<double>& qkv,
           const std::vector<int32_t>& slots, const std::vector<int32_t>& positions) {
  const int64_t n = int64_t(slots.size());
  device.run(op::CacheWrite{.keys = cache.keys,
                            .values = cache.values,
                            .qkv = device.tensor(qkv, n, (s.heads + 2 * s.kv_heads) * s.dim),
                            .slots = device.i32(slots, n),
                            .positions = device.i32(positions, n),
                            .num_heads = s.heads,
                            .num_kv_heads = s.kv_heads});
}

std::vector<float> decode(Device& device, const Shape& s, const Cache& cache, const std::vector<double>& qkv,
                          const std::vector<int32_t>& slots, const std::vector<int32_t>& positions) {
  const int64_t n = int64_t(slots.size());
  const Tensor out = device.out(n, s.heads * s.dim);
  device.run(op::AttentionDecode{.out = out,
                                 .qkv = device.tensor(qkv, n, (s.heads + 2 * s.kv_heads) * s.dim),
                                 .keys = cache.keys,
                                 .values = cache.values,
                                 .slots = device.i32(slots, n),
                                 .positions = device.i32(positions, n),
                                 .num_heads = s.heads,
                                 .num_kv_heads = s.kv_heads,
                                 .window = s.window,
                                 .scale = s.scale,
                                 .softcap = s.softcap});
  return device.floats(out);
}

// Three sequences of different lengths, the longest filling a slot.
reference::Attention sequences(const Shape& s) {
  const int32_t T = int32_t(s.capacity), middle = T + T / 3 + 1, end = middle + 1;
  reference::Attention p{s.heads,  s.kv_heads, s.dim,    {0, T, middle, end}, {-1, -1, -1}, {},
                         s.window, s.scale,    s.softcap};
  p.qkv = reference::random_normal(size_t(p.tokens() * p.row()), unsigned(s.dim));
  return p;
}

std::vector<float> full_forward(Device& device, const reference::Attention& p) {
  const Tensor out = device.out(p.tokens(), p.heads * p.dim);
  device.run(op::Attention{.out = out,
                           .lse = device.nan(p.tokens(), p.heads),
                           .qkv = device.tensor(p.qkv, p.tokens(), p.row()),
                           .cu_seqlens = device.i32(p.cu_seqlens, p.segments() + 1),
                           .parent = device.i32(p.parent, p.segments()),
                           .num_heads = p.heads,
                           .num_kv_heads = p.kv_heads,
                           .max_path = p.max_path(),
                           .window = p.window,
                           .scale = float(p.scale),
                           .softcap = float(p.softcap)});
  return device.floats(out);
}

template <class T>
std::vector<T> row_of(const std::vector<T>& values, int64_t cols, int64_t row) {
  return {values.begin() + row * cols, values.begin() + (row + 1) * cols};
}

TEST(AttentionDecode, SameBitsAsTheFullForwardPass) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE("heads " + std::to_string(s.heads) + ", dim " + std::to_string(s.dim) + ", window " +
                 std::to_string(s.window));
    on_every_device([&](Device& device) {
      const reference::Attention p = sequences(s);
      const std::vector<int32_t> slot_of = {3, 0, 2};
      std::vector<int32_t> slots, positions;
      for (size_t i = 0; i < 3; ++i)
        for (int32_t t = 0; t < p.cu_seqlens[i + 1] - p.cu_seqlens[i]; ++t) {
          slots.push_back(slot_of[i]);
          positions.push_back(t);
        }
      const std::vector<float> expected = full_forward(device, p);
      const Cache cache(device, s, 4);
      write(device, s, cache, p.qkv, slots, positions);
      // Later positions are already written and slot 1 is NaN: neither may be read.
      for (const int32_t step : {0, 1, 5, 14, 15, 16, int(s.capacity) / 3, int(s.capacity) - 1}) {
        std::vector<double> qkv;
        std::vector<int32_t> live, at, tokens;
        for (size_t i = 0; i < 3; ++i) {
          if (step >= p.cu_seqlens[i + 1] - p.cu_seqlens[i]) continue;
          tokens.push_back(p.cu_seqlens[i] + step);
          const std::vector<double> row = row_of(p.qkv, p.row(), tokens.back());
          qkv.insert(qkv.end(), row.begin(), row.end());
          live.push_back(slot_of[i]);
          at.push_back(step);
        }
        const std::vector<float> actual = decode(device, s, cache, qkv, live, at);
        for (size_t b = 0; b < live.size(); ++b)
          EXPECT_TRUE(
              equal_bits(row_of(expected, s.heads * s.dim, tokens[b]), row_of(actual, s.heads * s.dim, int64_t(b))))
              << "position " << step << " of slot " << live[b];
      }
    });
  }
}

// The backend determines the cache's layout: changes are detected by comparing bits.
TEST(CacheWrite, WritesItsPositionsAndNothingElse) {
  const Shape s{2, 1, 3, 16};
  const int64_t row = 4 * s.dim;
  const std::vector<int32_t> slots = {1, -1, 0}, positions = {4, 2, 15};
  on_every_device([&](Device& device) {
    const std::vector<double> qkv = reference::random_normal(size_t(3 * row), 7);
    const Cache cache(device, s, 2);
    write(device, s, cache, qkv, slots, positions);
    for (const auto& [tensor, column] : {std::pair{cache.keys, 2 * s.dim}, {cache.values, 3 * s.dim}}) {
      std::vector<float> written, expected;
      for (const float x : device.floats(tensor))
        if (!std::isnan(x)) written.push_back(x);
      for (const int64_t n : {0, 2})
        for (int64_t d = 0; d < s.dim; ++d) expected.push_back(float(qkv[size_t(n * row + column + d)]));
      std::sort(written.begin(), written.end());
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(written, expected);
    }
  });
}

// Samples of one prompt: slots 2 and 0 are copied from slot 1, slot 3 from slot 2.
TEST(CacheCopy, CopiesTheFirstPositionsInOrder) {
  const Shape s{4, 2, 20, 32};
  on_every_device([&](Device& device) {
    reference::Attention p{s.heads, s.kv_heads, s.dim, {0, 25}, {-1}, {}};
    p.qkv = reference::random_normal(size_t(p.tokens() * p.row()), 11);
    const Cache cache(device, s, 5);
    write(device, s, cache, p.qkv, std::vector<int32_t>(25, 1), range(0, 25));
    device.run(op::CacheCopy{.keys = cache.keys,
                             .values = cache.values,
                             .from = device.i32({1, 1, 2, 1}, 4),
                             .to = device.i32({2, 0, 3, 1}, 4),
                             .lengths = device.i32({25, 20, 25, 25}, 4),
                             .num_kv_heads = s.kv_heads,
                             .head_dim = s.dim});
    const std::vector<double> last = row_of(p.qkv, p.row(), 24);
    std::vector<double> qkv;
    for (int i = 0; i < 3; ++i) qkv.insert(qkv.end(), last.begin(), last.end());
    const std::vector<float> expected = row_of(full_forward(device, p), s.heads * s.dim, 24);
    const std::vector<float> actual = decode(device, s, cache, qkv, {1, 2, 3}, {24, 24, 24});
    for (int64_t b = 0; b < 3; ++b) EXPECT_TRUE(equal_bits(expected, row_of(actual, s.heads * s.dim, b)));
    for (const float x : decode(device, s, cache, last, {0}, {20})) EXPECT_TRUE(std::isnan(x));  // not copied
    for (const float x : decode(device, s, cache, last, {0}, {19})) EXPECT_TRUE(std::isfinite(x));
  });
}

TEST(AttentionDecode, RefusesAnotherType) {
  op::AttentionDecode op{.out = shape(2, 8),
                         .qkv = shape(2, 24),
                         .keys = shape(2 * 2 * 4, 16, DType::bf16),
                         .values = shape(2 * 2 * 16, 4, DType::bf16),
                         .slots = shape(2, 1, DType::i32),
                         .positions = shape(2, 1, DType::i32),
                         .num_heads = 2,
                         .num_kv_heads = 2};
  expect_refused(op, "keys is bf16, expected f32");
  op.keys = shape(9, 17);
  op.values = shape(2 * 2 * 16, 4);
  expect_refused(op, "keys is (9, 17), expected a multiple of 2 key/value heads of 4 channels");
}

}  // namespace
}  // namespace heed
