// Products whose sums depend on their order: elements of very different sizes, which cancel.
#include <algorithm>
#include <cmath>

#include "native/cuda/gemm.h"
#include "test/native/cuda/bits.h"
#include "test/native/reference.h"

namespace heed::testing {
namespace {

using cuda::MmaTile;
using cuda::WgmmaTile;

std::vector<double> uneven(size_t count, unsigned seed, bool even) {
  std::vector<double> values = reference::random_normal(count, seed);
  if (even) return values;
  const std::vector<double> sizes = reference::random_normal(count, seed + 1000);
  for (size_t i = 0; i < count; ++i) values[i] *= std::exp2(3 * sizes[i]);
  return values;
}

struct Case {
  int m, n, k;
  bool ta, tb;
  enum Kind { kF32, kAdd, kBf16 } kind;
  bool even;  // all elements of one size: where sums go wrong by a layout, the difference is plain
};

Tensor compute(Device& d, const Case& c, int kernel, int tile) {
  auto make = [&](unsigned seed, int rows, int cols) {
    return d.bf16(uneven(size_t(rows) * size_t(cols), seed, c.even), rows, cols).ptr<cuda::bf16>();
  };
  const Tensor out = c.kind == Case::kAdd    ? d.f32(uneven(size_t(c.m) * size_t(c.n), 5, c.even), c.m, c.n)
                     : c.kind == Case::kBf16 ? d.nan(c.m, c.n, DType::bf16)
                                             : d.nan(c.m, c.n);
  const cuda::Product p{.out = out.data,
                        .a = make(1, c.m, c.k),
                        .b = make(2, c.k, c.n),
                        .bias = c.kind == Case::kBf16 ? make(3, 1, c.n) : nullptr,
                        .residual = c.kind == Case::kBf16 ? make(4, c.m, c.n) : nullptr,
                        .m = c.m,
                        .n = c.n,
                        .k = c.k,
                        .transpose_a = c.ta,
                        .transpose_b = c.tb,
                        .accumulate = c.kind == Case::kAdd,
                        .out_is_f32 = c.kind != Case::kBf16};
  kernel == 0 ? cuda::multiply_mma(p, MmaTile(tile), d.backend().stream())
              : cuda::multiply_wgmma(p, WgmmaTile(tile), d.backend().stream());
  return out;
}

// What few rows become by an activation.
Tensor activate(Device& d, bool transpose_b, cuda::Activation activation, int tile) {
  constexpr int kM = 13, kN = 208, kK = 264;
  const bool pairs = activation == cuda::Activation::swiglu;
  const Tensor out = d.nan(kM, pairs ? kN / 2 : kN, DType::bf16);
  const auto make = [&](unsigned seed, int rows, int cols) {
    return d.bf16(reference::random_normal(size_t(rows) * size_t(cols), seed, 0.5), rows, cols).ptr<cuda::bf16>();
  };
  cuda::multiply_mma({.out = d.nan(kM, kN, DType::bf16).data,
                      .a = make(9, kM, kK),
                      .b = make(10, kK, kN),
                      .bias = make(11, 1, kN),
                      .m = kM,
                      .n = kN,
                      .k = kK,
                      .transpose_b = transpose_b,
                      .activation = activation,
                      .activated = out.ptr<cuda::bf16>()},
                     MmaTile(tile), d.backend().stream());
  return out;
}

// Weights of 8 bits: as they are, by each tile, and as the bf16 weights that they stand for. With an activation: its
// result.
Tensor narrow(Device& d, cuda::Activation activation, const MmaTile* tile) {
  constexpr int kM = 21, kN = 224, kK = 904;
  const bool pairs = activation == cuda::Activation::swiglu;
  std::vector<int8_t> weights;
  std::vector<double> scale = reference::random_normal(kN, 14, 0.01), widened;
  for (double& x : scale) x = float(std::fabs(x));
  for (int i = 0; i < kK * kN; ++i) {
    weights.push_back(int8_t(i * 7919 / 13 % 255 - 127));
    widened.push_back(float(weights.back()) * float(scale[size_t(i % kN)]));
  }
  const Tensor out = d.nan(kM, kN, DType::bf16), activated = d.nan(kM, pairs ? kN / 2 : kN, DType::bf16);
  cuda::Product p{.out = out.data,
                  .a = d.bf16(uneven(kM * kK, 12, false), kM, kK).ptr<cuda::bf16>(),
                  .bias = d.bf16(reference::random_normal(kN, 13), 1, kN).data,
                  .m = kM,
                  .n = kN,
                  .k = kK,
                  .activation = activation,
                  .activated = activated.ptr<cuda::bf16>()};
  if (tile == nullptr) {
    p.b = d.bf16(widened, kK, kN).ptr<cuda::bf16>();
    cuda::multiply_mma(p, MmaTile::m32n32, d.backend().stream());
  } else {
    p.narrow = d.i8(weights, kK, kN).ptr<int8_t>();
    p.scale = d.f32(scale, kN).ptr<float>();
    cuda::multiply_narrow(p, *tile, d.backend().stream());
  }
  return activation == cuda::Activation::none ? out : activated;
}

// Sums and what they are added to are about 2^-126: so it shows whether numbers below that count as zero. One k alone
// has elements, so that no other sum is so small.
Tensor add_tiny(Device& d, int kernel, int tile) {
  constexpr int kM = 64, kN = 64, kK = 16;
  auto tiny = [](size_t count, unsigned seed, double size) {
    std::vector<double> values = reference::random_normal(count, seed);
    for (double& v : values) v = std::copysign(1 + std::fmod(std::abs(v), 1), v) * size;
    return values;
  };
  std::vector<double> a = tiny(kK * kM, 6, 0x1p-63), b = tiny(kK * kN, 7, 0x1p-63);
  std::fill(a.begin() + kM, a.end(), 0);
  std::vector<double> before = tiny(kM * kN, 8, 0x1p-126);
  for (size_t i = 0; i < before.size(); i += 2) before[i] /= 4;
  const Tensor out = d.f32(before, kM, kN);
  const cuda::Product p{.out = out.data,
                        .a = d.bf16(a, kK, kM).ptr<cuda::bf16>(),
                        .b = d.bf16(b, kK, kN).ptr<cuda::bf16>(),
                        .m = kM,
                        .n = kN,
                        .k = kK,
                        .transpose_a = true,
                        .accumulate = true,
                        .out_is_f32 = true};
  kernel == 0 ? cuda::multiply_mma(p, MmaTile(tile), d.backend().stream())
              : cuda::multiply_wgmma(p, WgmmaTile(tile), d.backend().stream());
  return out;
}

std::vector<BitsCase> cases() {
  const char* mma[] = {"16x16", "16x32", "16x64", "32x32", "64x16", "64x32", "64x64", "128x128", "any"};
  const char* wgmma[] = {"128x64", "128x128", "128x192", "128x256"};
  std::vector<BitsCase> all;
  auto add = [&](const std::string& golden, const Case& c) {
    for (int tile = 0; tile <= int(MmaTile::any); ++tile)
      if (!c.ta || tile >= int(MmaTile::m64n64))
        all.push_back({golden + ".mma" + mma[tile], golden, [=](Device& d) { return compute(d, c, 0, tile); }});
    for (int tile = 0; tile < 4; ++tile)
      all.push_back({golden + ".wgmma" + wgmma[tile], golden, [=](Device& d) { return compute(d, c, 1, tile); }});
  };
  for (const auto& [name, ta, tb] : {std::tuple{"nt", false, true}, {"nn", false, false}, {"tn", true, false}}) {
    const std::string gemm = std::string("gemm_") + name;
    add(gemm + "_even", {128, 256, 64, ta, tb, Case::kF32, true});
    add(gemm + "_f32", {264, 520, 264, ta, tb, Case::kF32, false});
    add(gemm + "_bf16", {264, 520, 328, ta, tb, Case::kBf16, false});
    if (ta) add(gemm + "_add", {264, 520, 333, ta, tb, Case::kAdd, false});
  }
  using enum cuda::Activation;
  for (const auto& [name, tb, activation] : {std::tuple{"nt_gelu", true, gelu},
                                             {"nn_gelu_exact", false, exact_gelu},
                                             {"nt_swiglu", true, swiglu},
                                             {"nn_swiglu", false, swiglu}})
    for (int tile = 0; tile < int(MmaTile::m64n64); ++tile)
      all.push_back({std::string("gemm_") + name + ".mma" + mma[tile], std::string("gemm_") + name,
                     [=, tb = tb, f = activation](Device& d) { return activate(d, tb, f, tile); }});
  for (const auto& [name, activation] :
       {std::pair{"gemm_narrow", none}, {"gemm_narrow_gelu", gelu}, {"gemm_narrow_swiglu", swiglu}}) {
    const std::string golden = name;
    all.push_back({golden + ".widened", golden, [f = activation](Device& d) { return narrow(d, f, nullptr); }});
    for (const MmaTile& tile : cuda::kNarrowTiles)
      all.push_back({golden + ".mma" + mma[int(tile)], golden,
                     [f = activation, at = &tile](Device& d) { return narrow(d, f, at); }});
  }
  all.push_back({"gemm_add_tiny.mma", "gemm_add_tiny", [](Device& d) { return add_tiny(d, 0, int(MmaTile::m64n64)); }});
  all.push_back({"gemm_add_tiny.wgmma", "gemm_add_tiny", [](Device& d) { return add_tiny(d, 1, 0); }});
  return all;
}
const AddBits kGemm(cases());

}  // namespace
}  // namespace heed::testing
