// The key/value cache: decoding gives the bits of the whole forward pass.
#include "test/native/device.h"
#include "test/native/reference_attention.h"

namespace heed {
namespace {

using namespace heed::testing;

struct Shape {
  int64_t heads, kv_heads, dim, capacity;
};
const std::vector<Shape> kShapes = {{4, 4, 32, 160}, {2, 2, 12, 48},  {8, 2, 24, 64},
                                    {6, 1, 80, 96},  {5, 5, 64, 272}, {1, 1, 4, 16}};

struct Cache {
  Cache(Device& device, const Shape& s, int64_t slots)
      : keys(device.nan(slots * s.kv_heads * s.dim, s.capacity)),
        values(device.nan(slots * s.kv_heads * s.capacity, s.dim)) {}
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
                            .qkv = device.f32(qkv, n, (s.heads + 2 * s.kv_heads) * s.dim),
                            .slots = device.i32(slots, n),
                            .positions = device.i32(positions, n),
                            .num_heads = s.heads,
                            .num_kv_heads = s.kv_heads});
}

std::vector<float> decode(Device& device, const Shape& s, const Cache& cache, const std::vector<double>& qkv,
                          const std::vector<int32_t>& slots, const std::vector<int32_t>& positions) {
  const int64_t n = int64_t(slots.size());
  const Tensor out = device.nan(n, s.heads * s.dim);
  device.run(op::AttentionDecode{.out = out,
                                 .qkv = device.f32(qkv, n, (s.heads + 2 * s.kv_heads) * s.dim),
                                 .keys = cache.keys,
                                 .values = cache.values,
                                 .slots = device.i32(slots, n),
                                 .positions = device.i32(positions, n),
                                 .num_heads = s.heads,
                                 .num_kv_heads = s.kv_heads});
  return device.floats(out);
}

// Three sequences of different lengths, the longest filling a slot.
reference::Attention sequences(const Shape& s) {
  const int32_t T = int32_t(s.capacity), middle = T + T / 3 + 1, end = middle + 1;
  reference::Attention p{s.heads, s.kv_heads, s.dim, {0, T, middle, end}, {-1, -1, -1}, {}};
  p.qkv = reference::random_normal(size_t(p.tokens() * p.row()), unsigned(s.dim));
  return p;
}

std::vector<float> full_forward(Device& device, const reference::Attention& p) {
  const Tensor out = device.nan(p.tokens(), p.heads * p.dim);
  device.run(op::Attention{.out = out,
                           .lse = device.nan(p.tokens(), p.heads),
                           .qkv = device.f32(p.qkv, p.tokens(), p.row()),
                           .cu_seqlens = device.i32(p.cu_seqlens, p.segments() + 1),
                           .parent = device.i32(p.parent, p.segments()),
                           .num_heads = p.heads,
                           .num_kv_heads = p.kv_heads,
                           .max_path = p.max_path()});
  return device.floats(out);
}

template <class T>
std::vector<T> row_of(const std::vector<T>& values, int64_t cols, int64_t row) {
  return {values.begin() + row * cols, values.begin() + (row + 1) * cols};
}

TEST(AttentionDecode, SameBitsAsTheWholeForward) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE("heads " + std::to_string(s.heads) + ", dim " + std::to_string(s.dim));
    const reference::Attention p = sequences(s);
    const std::vector<int32_t> slot_of = {3, 0, 2};
    std::vector<int32_t> slots, positions;
    for (size_t i = 0; i < 3; ++i)
      for (int32_t t = 0; t < p.cu_seqlens[i + 1] - p.cu_seqlens[i]; ++t) {
        slots.push_back(slot_of[i]);
        positions.push_back(t);
      }
    on_every_device([&](Device& device) {
      const std::vector<float> expected = full_forward(device, p);
      const Cache cache(device, s, 4);
      write(device, s, cache, p.qkv, slots, positions);
      // Later positions are there already and slot 1 is NaN: neither may be seen.
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

TEST(CacheWrite, WritesItsPositionsAndNothingElse) {
  const Shape s{2, 1, 3, 16};
  const int64_t row = 4 * s.dim;
  const std::vector<double> qkv = reference::random_normal(size_t(3 * row), 7);
  const std::vector<int32_t> slots = {1, -1, 0}, positions = {4, 2, 15};
  on_every_device([&](Device& device) {
    const Cache cache(device, s, 2);
    write(device, s, cache, qkv, slots, positions);
    const std::vector<float> keys = device.floats(cache.keys), values = device.floats(cache.values);
    for (int64_t slot = 0; slot < 2; ++slot)
      for (int64_t t = 0; t < s.capacity; ++t)
        for (int64_t d = 0; d < s.dim; ++d) {
          const float key = keys[size_t((slot * s.dim + d) * s.capacity + t)];
          const float value = values[size_t((slot * s.capacity + t) * s.dim + d)];
          const int64_t n = slot == 1 && t == 4 ? 0 : slot == 0 && t == 15 ? 2 : -1;
          if (n < 0) {
            EXPECT_TRUE(std::isnan(key) && std::isnan(value));
          } else {
            EXPECT_EQ(key, float(qkv[size_t(n * row + 2 * s.dim + d)]));
            EXPECT_EQ(value, float(qkv[size_t(n * row + 3 * s.dim + d)]));
          }
        }
  });
}

// Samples of one prompt: slots 2 and 0 continue what slot 1 holds, slot 3 what slot 2 was given.
TEST(CacheCopy, CopiesTheFirstPositionsInOrder) {
  const Shape s{4, 2, 20, 32};
  reference::Attention p{s.heads, s.kv_heads, s.dim, {0, 25}, {-1}, {}};
  p.qkv = reference::random_normal(size_t(p.tokens() * p.row()), 11);
  on_every_device([&](Device& device) {
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

TEST(AttentionDecode, RefusesMoreRowsThanSlots) {
  op::AttentionDecode op{.out = shape(3, 8),
                         .qkv = shape(3, 24),
                         .keys = shape(2 * 2 * 4, 16),
                         .values = shape(2 * 2 * 16, 4),
                         .slots = shape(3, 1, DType::i32),
                         .positions = shape(3, 1, DType::i32),
                         .num_heads = 2,
                         .num_kv_heads = 2};
  expect_refused(op, "out has 3 rows, the cache has 2 slots");
}

}  // namespace
}  // namespace heed
