// Products of few rows with weights of 8 bits: bit for bit those with the bf16 weights that they stand for.
#include "native/cuda/gemm.h"
#include "native/cuda/launch.h"
#include "test/native/cuda/fused.h"

namespace {

using namespace heed;
using namespace heed::testing;
using cuda::MmaTile;

struct Case {
  int64_t m, n, k;
  bool bias = false, residual = false;
};

// Its weights take every value of 8 bits, and -128 too, which is never written but could be read.
struct Problem {
  Case c;
  std::vector<int8_t> weights;
  std::vector<double> scale, widened, a, bias, residual;

  explicit Problem(const Case& c)
      : c(c),
        scale(reference::random_normal(size_t(c.n), 1, 0.01)),
        a(reference::random_normal(size_t(c.m * c.k), 2)),
        bias(reference::random_normal(size_t(c.n), 3)),
        residual(reference::random_normal(size_t(c.m * c.n), 4)) {
    for (double& x : scale) x = float(std::fabs(x));
    for (int64_t i = 0; i < c.k * c.n; ++i) {
      weights.push_back(int8_t(uint8_t(i * 7 + i / c.n)));
      widened.push_back(float(weights.back()) * float(scale[size_t(i % c.n)]));
    }
  }
};

// With bf16 weights if tile is null.
std::vector<float> product(Device& d, const Problem& p, const MmaTile* tile) {
  const Tensor out = d.nan(p.c.m, p.c.n, DType::bf16);
  cuda::Product of{.out = out.data,
                   .a = d.bf16(p.a, p.c.m, p.c.k).ptr<cuda::bf16>(),
                   .m = int(p.c.m),
                   .n = int(p.c.n),
                   .k = int(p.c.k)};
  if (p.c.bias) of.bias = d.bf16(p.bias, 1, p.c.n).data;
  if (p.c.residual) of.residual = d.bf16(p.residual, p.c.m, p.c.n).data;
  if (tile == nullptr) {
    of.b = d.bf16(p.widened, p.c.k, p.c.n).ptr<cuda::bf16>();
    cuda::multiply_mma(of, MmaTile::m64n64, d.backend().stream());
  } else {
    of.narrow = d.i8(p.weights, p.c.k, p.c.n).ptr<int8_t>();
    of.scale = d.f32(p.scale, p.c.n).ptr<float>();
    cuda::multiply_narrow(of, *tile, d.backend().stream());
  }
  return d.floats(out);
}

// Part of a stage of k, all stages and some twice; part of a tile's columns and rows, and several tiles.
TEST(Narrow, EveryTileHasTheBitsOfTheWidenedWeights) {
  on_every_device([](Device& d) {
    for (const Case& c :
         {Case{1, 16, 8}, {16, 48, 128, true}, {3, 96, 1160, false, true}, {35, 80, 264, true, true}, {70, 144, 136}}) {
      const Problem p(c);
      const std::vector<float> expected = product(d, p, nullptr);
      for (const MmaTile tile : cuda::kNarrowTiles)
        EXPECT_TRUE(equal_bits(product(d, p, &tile), expected))
            << c.m << " x " << c.n << " x " << c.k << ", tile " << int(tile);
    }
  });
}

TEST(Narrow, HasTheSameBitsInAnyOrderOfThreads) {
  const Problem p({20, 80, 400, true, true});
  for (const MmaTile tile : cuda::kNarrowTiles)
    expect_same_bits_with_any_threads([&](Device& d) { return product(d, p, &tile); });
}

// What an op does, and with what memory.
Outputs multiply(Device& d, const Case& c, DType dtype = DType::bf16, bool transpose_b = false) {
  const Problem p(c);
  const auto tensor = [&](const std::vector<double>& x, int64_t rows, int64_t cols) {
    return dtype == DType::bf16 ? d.bf16(x, rows, cols) : d.f32(x, rows, cols);
  };
  const Tensor out = d.nan(c.m, c.n, dtype);
  const int64_t rows = transpose_b ? c.n : c.k, cols = transpose_b ? c.k : c.n;
  d.run(op::Int8Gemm{.out = out,
                     .a = tensor(p.a, c.m, c.k),
                     .b = d.i8(p.weights, rows, cols),
                     .scale = d.f32(std::vector<double>(size_t(cols), 0.01f), 1, cols),
                     .transpose_b = transpose_b});
  return {d.floats(out)};
}

int64_t scratch_of(const Case& c, DType dtype = DType::bf16, bool transpose_b = false) {
  cuda::CudaBackend backend;
  Device d(backend);
  multiply(d, c, dtype, transpose_b);
  return backend.held().scratch_bytes;
}

// Decoding needs no memory for widened weights. What is read otherwise does: many rows, gradients, odd widths.
TEST(Narrow, FewRowsTakeNoWorkingMemory) {
  for (const int64_t m : {1, 16, 17, 32, 33, 64}) EXPECT_EQ(scratch_of({m, 32, 16}), 0) << m << " rows";
  EXPECT_EQ(scratch_of({7, 31, 13}, DType::f32), 0);
  EXPECT_EQ(scratch_of({7, 31, 13}, DType::f32, true), 0);
  EXPECT_EQ(scratch_of({65, 32, 16}), 2 * 32 * 16);
  EXPECT_EQ(scratch_of({4, 32, 16}, DType::bf16, true), 2 * 32 * 16);
  EXPECT_EQ(scratch_of({4, 24, 16}), 2 * 24 * 16);
  EXPECT_EQ(scratch_of({4, 32, 12}), 2 * 32 * 12);
}

enum class Kind { gelu, exact_gelu, swiglu };
Outputs product_and_activation(Device& d, const Case& c, Kind kind) {
  const Problem p(c);
  const Tensor sums = d.nan(c.m, c.n, DType::bf16);
  const Tensor out = d.nan(c.m, kind == Kind::swiglu ? c.n / 2 : c.n, DType::bf16);
  op::Int8Gemm gemm{
      .out = sums, .a = d.bf16(p.a, c.m, c.k), .b = d.i8(p.weights, c.k, c.n), .scale = d.f32(p.scale, 1, c.n)};
  if (c.bias) gemm.bias = d.bf16(p.bias, 1, c.n);
  if (c.residual) gemm.residual = d.bf16(p.residual, c.m, c.n);
  d.run(gemm);
  if (kind == Kind::swiglu)
    d.run(op::SwiGlu{.out = out, .gate_up = sums});
  else
    d.run(op::Gelu{.out = out, .x = sums, .exact = kind == Kind::exact_gelu});
  return {d.floats(out), d.floats(sums)};
}

TEST(Narrow, ProductsWithTheirActivation) {
  const int64_t all = cuda::chip().multiprocessors;
  for (const auto& [m, n] :
       {std::pair<int64_t, int64_t>{1, 32}, {16, 64 * all - 32}, {5, 64 * all + 32}, {17, 96}, {33, 160}})
    for (const Kind kind : {Kind::gelu, Kind::exact_gelu, Kind::swiglu}) {
      SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + ", kind " + std::to_string(int(kind)));
      const Case c{m, n, 72, kind == Kind::swiglu, kind == Kind::exact_gelu};
      expect_same_bits([&](Device& d) { return product_and_activation(d, c, kind); }, 1);
    }
}

TEST(Narrow, WhatHasNoCommonKernelIsApart) {
  expect_same_bits([](Device& d) { return product_and_activation(d, {5, 48, 64}, Kind::gelu); }, 1);
  expect_same_bits([](Device& d) { return product_and_activation(d, {5, 48, 64}, Kind::swiglu); }, 2);
}

// Weights that are widened first do not wait for an activation.
TEST(Narrow, ManyRowsAreActivatedApart) {
  const auto ops = [](Device& d) { return product_and_activation(d, {65, 32, 16}, Kind::gelu); };
  int64_t apart = 0, together = 0;
  const Outputs expected = run<cuda::CudaBackend>(ops, apart), fused = run<cuda::FusedBackend>(ops, together);
  for (size_t i = 0; i < fused.size(); ++i) EXPECT_TRUE(equal_bits(fused[i], expected[i])) << "output " << i;
  EXPECT_EQ(together, apart);
}

TEST(Narrow, WhatWaitsIsDoneBeforeAnythingElse) {
  cuda::FusedBackend backend;
  Device d(backend);
  const Problem p({1, 16, 8});
  const Tensor out = d.nan(1, 16, DType::bf16), other = d.nan(1, 16, DType::bf16);
  const op::Int8Gemm gemm{
      .out = out, .a = d.bf16(p.a, 1, 8), .b = d.i8(p.weights, 8, 16), .scale = d.f32(p.scale, 1, 16)};
  const std::vector<float> expected = product(d, p, cuda::kNarrowTiles);
  backend.run(gemm);
  EXPECT_TRUE(equal_bits(d.floats(out), expected));
  backend.zero(out);
  backend.run(gemm);
  backend.copy(other, out);
  EXPECT_TRUE(equal_bits(d.floats(other), expected));
  backend.zero(other);
  backend.run(gemm);
  backend.run(op::Gelu{.out = out, .x = other});  // of something else
  for (const float y : d.floats(out)) EXPECT_EQ(y, 0);
}

}  // namespace
