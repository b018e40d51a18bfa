// What FusedBackend makes one pass over memory in training: the bits of the ops one by one, with fewer launches.
#include "test/native/cuda/fused.h"

namespace {

using namespace heed;
using heed::testing::Device;
using heed::testing::equal_bits;
using heed::testing::expect_same_bits;
using heed::testing::Outputs;
using heed::testing::run;

// Whole packs and others.
struct Train {
  Device& d;
  DType dtype;
  unsigned seed = 1;
  Tensor normal(int64_t rows, int64_t cols) {
    const std::vector<double> x = reference::random_normal(size_t(rows * cols), seed++, 2);
    return dtype == DType::bf16 ? d.bf16(x, rows, cols) : d.f32(x, rows, cols);
  }
  Tensor f32(int64_t rows, int64_t cols) {
    return d.f32(reference::random_normal(size_t(rows * cols), seed++), rows, cols);
  }
  Tensor nan(int64_t rows, int64_t cols) { return d.nan(rows, cols, dtype); }
};
template <class F>
void in_every_form(F&& body) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t cols : {264, 331}) {
      SCOPED_TRACE(std::to_string(cols) + (dtype == DType::bf16 ? " bf16" : " f32"));
      body(dtype, cols);
    }
}

TEST(Fused, AnActivationsGradientIsSummedOverRows) {
  in_every_form([](DType dtype, int64_t cols) {
    for (const int kind : {0, 1, 2}) {
      int64_t apart = 0, together = 0;
      const auto ops = [&](Device& d) {
        Train t{d, dtype};
        // In place, as in a model's MLP: 137 rows are several blocks, the last of them part of one.
        const Tensor d_act = t.normal(137, cols), x = t.normal(137, cols), dbias = t.f32(1, cols);
        if (kind == 2)
          d.run(op::ReluBackward{.dx = d_act, .dout = d_act, .x = x});
        else
          d.run(op::GeluBackward{.dx = d_act, .dout = d_act, .x = x, .exact = kind == 1});
        d.run(op::BiasBackward{.dbias = dbias, .dout = d_act});
        return Outputs{d.floats(d_act), d.floats(dbias)};
      };
      const Outputs expected = run<cuda::CudaBackend>(ops, apart), fused = run<cuda::FusedBackend>(ops, together);
      for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(equal_bits(fused[i], expected[i])) << kind << ", output " << i;
      EXPECT_EQ(together, apart == 0 ? 0 : apart - 1);
    }
  });
}

TEST(Fused, DropoutAndItsResidual) {
  in_every_form([](DType dtype, int64_t cols) {
    expect_same_bits(
        [&](Device& d) {
          Train t{d, dtype};
          const Tensor x = t.normal(7, cols), residual = t.normal(7, cols);
          d.run(op::Dropout{.out = x, .x = x, .rate = 0.3f, .seed = 11, .site = 3, .first_row = 5});
          d.run(op::Add{.out = x, .a = x, .b = residual});
          return Outputs{d.floats(x)};
        },
        1);
  });
}

TEST(Fused, NormsAndTheirResidual) {
  in_every_form([](DType dtype, int64_t cols) {
    for (const bool centered : {true, false})
      expect_same_bits(
          [&](Device& d) {
            Train t{d, dtype};
            const Tensor out = t.nan(9, cols), rstd = d.nan(9), x = t.normal(9, cols), weight = t.normal(1, cols);
            const Tensor bias = t.normal(1, cols), residual = t.normal(9, cols);
            if (centered)
              d.run(op::LayerNorm{
                  .out = out, .mean = d.nan(9), .rstd = rstd, .x = x, .weight = weight, .bias = bias, .eps = 1e-5f});
            else
              d.run(op::RmsNorm{.out = out, .rstd = rstd, .x = x, .weight = weight, .eps = 1e-5f, .offset = 1});
            d.run(op::Add{.out = out, .a = out, .b = residual});
            return Outputs{d.floats(out), d.floats(rstd)};
          },
          1);
  });
}

// The zeros are not written, and not read either: what is there before is no number.
TEST(Fused, ANormsGradientOfZeros) {
  int64_t launches = 0;
  for (const int64_t cols : {264, 331, 9000})
    for (const bool centered : {true, false}) {
      const auto ops = [&](Device& d) {
        Train t{d, DType::bf16};
        const Tensor dx = t.nan(37, cols), dweight = t.f32(1, cols), dbias = t.f32(1, cols), dout = t.normal(37, cols);
        const Tensor x = t.normal(37, cols), mean = t.f32(37, 1), rstd = t.f32(37, 1), weight = t.normal(1, cols);
        d.backend().zero(dx);
        if (centered)
          d.run(op::LayerNormBackward{.dx = dx,
                                      .dweight = dweight,
                                      .dbias = dbias,
                                      .dout = dout,
                                      .x = x,
                                      .mean = mean,
                                      .rstd = rstd,
                                      .weight = weight});
        else
          d.run(
              op::RmsNormBackward{.dx = dx, .dweight = dweight, .dout = dout, .x = x, .rstd = rstd, .weight = weight});
        return Outputs{d.floats(dx), d.floats(dweight), d.floats(dbias)};
      };
      const Outputs expected = run<cuda::CudaBackend>(ops, launches), fused = run<cuda::FusedBackend>(ops, launches);
      for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(equal_bits(fused[i], expected[i])) << cols << ", output " << i;
    }
}

}  // namespace
