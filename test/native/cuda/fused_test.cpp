// FusedBackend: the bits of the ops one by one, with fewer launches, and nothing left waiting that somebody reads.
#include "test/native/cuda/fused.h"

#include "native/cuda/launch.h"

namespace {

using namespace heed;
using heed::testing::Device;
using heed::testing::equal_bits;
using heed::testing::expect_same_bits;
using heed::testing::Outputs;
using heed::testing::run;

enum class Kind { gelu, exact_gelu, swiglu };
struct Case {
  int64_t m, n, k;
  bool transpose_b, bias, residual;
};

Outputs product_and_activation(Device& d, const Case& c, Kind kind) {
  const auto bf16 = [&](unsigned seed, int64_t rows, int64_t cols) {
    return d.bf16(reference::random_normal(size_t(rows * cols), seed, 2), rows, cols);
  };
  const Tensor sums = d.nan(c.m, c.n, DType::bf16);
  const Tensor out = d.nan(c.m, kind == Kind::swiglu ? c.n / 2 : c.n, DType::bf16);
  op::Gemm gemm{.out = sums,
                .a = bf16(1, c.m, c.k),
                .b = c.transpose_b ? bf16(2, c.n, c.k) : bf16(2, c.k, c.n),
                .transpose_b = c.transpose_b};
  if (c.bias) gemm.bias = bf16(3, 1, c.n);
  if (c.residual) gemm.residual = bf16(4, c.m, c.n);
  d.run(gemm);
  if (kind == Kind::swiglu)
    d.run(op::SwiGlu{.out = out, .gate_up = sums});
  else
    d.run(op::Gelu{.out = out, .x = sums, .exact = kind == Kind::exact_gelu});
  return {d.floats(out), d.floats(sums)};
}

// Every tile of few rows, whose widths the number of columns selects; the last columns are part of a tile.
TEST(Fused, ProductsWithTheirActivation) {
  const int64_t all = cuda::chip().multiprocessors;
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 16},
                             {16, 64 * all - 48},
                             {5, 64 * all + 16},
                             {17, 80},
                             {32, 208},
                             {33, 16},
                             {64, 16 * all - 16},
                             {40, 16 * all + 16}})
    for (const bool transpose_b : {false, true})
      for (const Kind kind : {Kind::gelu, Kind::exact_gelu, Kind::swiglu}) {
        SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + ", kind " + std::to_string(int(kind)));
        const Case c{m, n, 72, transpose_b, transpose_b, kind == Kind::exact_gelu};
        expect_same_bits([&](Device& d) { return product_and_activation(d, c, kind); }, 1);
      }
}

TEST(Fused, ManyRowsAndOddColumnsAreApart) {
  expect_same_bits([](Device& d) { return product_and_activation(d, {65, 64, 64, true, true, false}, Kind::gelu); }, 2);
  expect_same_bits(
      [](Device& d) {
        return product_and_activation(d, {5, 24, 64, true, true, false}, Kind::swiglu);
      },
      2);
  expect_same_bits([](Device& d) { return product_and_activation(d, {5, 20, 64, true, true, false}, Kind::gelu); }, 2);
}

struct Heads {
  int64_t heads, kv_heads, dim, length;
};

// Tokens at the ends and in the middle of blocks of keys.
Outputs write_and_attend(Device& d, const Heads& h, DType dtype, const std::vector<int32_t>& positions,
                         bool distinct_slots = true) {
  const int64_t rows = int64_t(positions.size()), cols = (h.heads + 2 * h.kv_heads) * h.dim;
  const auto make = [&](unsigned seed, int64_t r, int64_t c) {
    const std::vector<double> x = reference::random_normal(size_t(r * c), seed);
    return dtype == DType::bf16 ? d.bf16(x, r, c) : d.f32(x, r, c);
  };
  const Tensor keys = make(1, (rows + 1) * h.kv_heads, h.length * h.dim),
               values = make(2, (rows + 1) * h.kv_heads, h.length * h.dim), qkv = make(3, rows, cols),
               out = d.nan(rows, h.heads * h.dim, dtype);
  std::vector<int32_t> of_rows;
  for (int64_t i = 0; i < rows; ++i) of_rows.push_back(int32_t(distinct_slots ? rows - i : 1));
  const Tensor slots = d.i32(of_rows, rows), at = d.i32(positions, rows);
  d.run(op::CacheWrite{.keys = keys,
                       .values = values,
                       .qkv = qkv,
                       .slots = slots,
                       .positions = at,
                       .num_heads = h.heads,
                       .num_kv_heads = h.kv_heads});
  d.run(op::AttentionDecode{.out = out,
                            .qkv = qkv,
                            .keys = keys,
                            .values = values,
                            .slots = slots,
                            .positions = at,
                            .num_heads = h.heads,
                            .num_kv_heads = h.kv_heads,
                            .window = 0,
                            .distinct_slots = distinct_slots});
  return {d.floats(out), d.floats(keys), d.floats(values)};
}

TEST(Fused, TheCacheIsWrittenByAttention) {
  const std::vector<int32_t> positions{0, 63, 64, 100};
  for (const Heads& h : {Heads{4, 2, 64, 128}, {20, 1, 64, 128}, {2, 2, 128, 128}, {3, 1, 24, 128}})
    expect_same_bits([&](Device& d) { return write_and_attend(d, h, DType::bf16, positions); }, 1);
  expect_same_bits([&](Device& d) { return write_and_attend(d, {4, 2, 32, 64}, DType::f32, {0, 40}); }, 1);
}

TEST(Fused, TokensOfOneSequenceAreWrittenFirst) {
  for (const int64_t dim : {24, 64})
    expect_same_bits(
        [&](Device& d) {
          return write_and_attend(d, {4, 2, dim, 128}, DType::bf16, {60, 61, 62}, false);
        },
        2);
}

// Where attention itself is two kernels: one writes the keys, the other the values.
TEST(Fused, TheCacheIsWrittenBySplitAttention) {
  int64_t apart = 0, together = 0;
  for (const Heads& h : {Heads{4, 2, 64, 512}, {20, 1, 128, 512}}) {
    const auto ops = [&](Device& d) { return write_and_attend(d, h, DType::bf16, {0, 63, 320, 511}); };
    const Outputs expected = run<cuda::CudaBackend>(ops, apart), fused = run<cuda::FusedBackend>(ops, together);
    for (size_t i = 0; i < fused.size(); ++i) EXPECT_TRUE(equal_bits(fused[i], expected[i])) << "output " << i;
    EXPECT_EQ(together, apart == 0 ? 0 : apart - 1);
  }
}

struct FusedOps : ::testing::Test {
  cuda::FusedBackend backend;
  Device device{backend};
  Tensor a = device.bf16({1, 2, 3, 4, 5, 6, 7, 8}, 1, 8), b = device.bf16(std::vector<double>(64, 0.5), 8, 8);
  Tensor out = device.nan(1, 8, DType::bf16), other = device.nan(1, 8, DType::bf16);
  const std::vector<float> product = std::vector<float>(8, 18);

  void multiply() { backend.run(op::Gemm{.out = out, .a = a, .b = b}); }
};

TEST_F(FusedOps, WhatWaitsIsDoneBeforeAnythingElse) {
  multiply();
  EXPECT_EQ(device.floats(out), product);  // a download
  backend.zero(out);
  multiply();
  backend.copy(other, out);
  EXPECT_EQ(device.floats(other), product);
  multiply();
  backend.zero(out);
  EXPECT_EQ(device.floats(out), std::vector<float>(8, 0));
  multiply();
  const std::vector<uint16_t> zeros(8, 0);
  backend.upload(a, zeros.data());
  EXPECT_EQ(device.floats(out), product);
  multiply();  // of zeros
  backend.run(op::Add{.out = other, .a = out, .b = out});
  EXPECT_EQ(device.floats(other), std::vector<float>(8, 0));
}

TEST_F(FusedOps, AnActivationOfSomethingElseIsNotFused) {
  const Tensor before = device.bf16(std::vector<double>(8, 1), 1, 8);
  multiply();
  backend.run(op::Gelu{.out = other, .x = before});
  EXPECT_EQ(device.floats(out), product);
  for (const float y : device.floats(other)) EXPECT_NEAR(y, 0.84, 0.01);
  multiply();
  backend.run(op::Gelu{.out = out, .x = out});  // in place
  for (const float y : device.floats(out)) EXPECT_NEAR(y, 18, 0.1);
}

// A sum, a residual or a gradient of other tensors, or of the op's own result.
TEST_F(FusedOps, NextOpsOfSomethingElseAreApart) {
  const std::vector<double> ones(8, 1), twos(8, 2);
  const std::vector<float> one(8, 1), three(8, 3), four(8, 4);
  const Tensor x = device.bf16(ones, 1, 8), residual = device.bf16(twos, 1, 8), dbias = device.f32(ones, 1, 8);
  backend.run(op::ReluBackward{.dx = out, .dout = residual, .x = x});
  backend.run(op::BiasBackward{.dbias = dbias, .dout = x});
  EXPECT_EQ(device.floats(dbias), std::vector<float>(8, 2));
  EXPECT_EQ(device.floats(out), std::vector<float>(8, 2));

  const op::Dropout keep{.out = out, .x = x, .rate = 0, .seed = 1, .site = 0, .first_row = 0};
  backend.run(keep);
  backend.run(op::Add{.out = other, .a = out, .b = residual});  // not in place
  EXPECT_EQ(device.floats(out), one);
  EXPECT_EQ(device.floats(other), three);
  backend.run(keep);
  backend.run(op::Add{.out = other, .a = other, .b = out});
  EXPECT_EQ(device.floats(other), four);
  backend.zero(out);
  backend.run(keep);
  backend.run(op::Add{.out = out, .a = out, .b = out});
  EXPECT_EQ(device.floats(out), std::vector<float>(8, 2));

  // Zeros of another tensor, and of a part of dx.
  const Tensor rstd = device.f32(std::vector<double>(1, 1), 1), dx = device.bf16(ones, 1, 8);
  const Tensor dout = device.bf16(std::vector<double>(8, 0), 1, 8);
  const auto differentiate = [&] {
    backend.run(op::RmsNormBackward{.dx = dx, .dweight = {}, .dout = dout, .x = x, .rstd = rstd, .weight = x});
  };
  backend.zero(other);
  differentiate();
  EXPECT_EQ(device.floats(dx), one);
  EXPECT_EQ(device.floats(other), std::vector<float>(8, 0));
  backend.zero({dx.data, DType::bf16, 1, 4});
  differentiate();
  EXPECT_EQ(device.floats(dx), (std::vector<float>{0, 0, 0, 0, 1, 1, 1, 1}));
}

TEST_F(FusedOps, AnF32ProductOfBf16IsActivatedApart) {
  const Tensor sums = device.nan(1, 8), y = device.nan(1, 8);
  backend.run(op::Gemm{.out = sums, .a = a, .b = b});
  backend.run(op::Gelu{.out = y, .x = sums});
  EXPECT_EQ(device.floats(y), product);  // GELU of 18 is 18
}

TEST_F(FusedOps, MemoryIsReleasedAfterWhatWaits) {
  const Tensor short_lived{backend.allocate(16), DType::bf16, 1, 8};
  backend.copy(short_lived, a);
  backend.run(op::Gemm{.out = out, .a = short_lived, .b = b});
  backend.release(short_lived.data, 16);
  EXPECT_EQ(device.floats(out), product);
}

TEST_F(FusedOps, AreRecordedWithTheirStep) {
  RepeatedSteps steps(backend);
  const auto step = [&](StepKey key) { return backend.repeat(key, [&] { multiply(); }); };
  const StepKey key = steps.key(out.data, 1);
  for (const bool called : {true, true, false}) {
    backend.zero(out);
    EXPECT_EQ(step(key), called);
    EXPECT_EQ(device.floats(out), product);
  }
  // What waits when a step fails is dropped with it.
  backend.zero(out);
  const StepKey failing = steps.key(other.data, 1);
  EXPECT_TRUE(step(failing));
  backend.zero(out);
  EXPECT_THROW(backend.repeat(failing,
                              [&] {
                                multiply();
                                throw Error(ErrorCode::Aborted, "stop");
                              }),
               Error);
  EXPECT_EQ(device.floats(out), std::vector<float>(8, 0));
}

}  // namespace
