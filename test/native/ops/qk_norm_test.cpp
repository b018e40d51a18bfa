// RMSNorm of queries and keys.
#include "test/native/device.h"
#include "test/native/reference_norm.h"

namespace heed {
namespace {

using namespace heed::testing;
using reference::QkNorm;
using reference::relative_error;

QkNorm random_case(int64_t rows, int64_t heads, int64_t kv_heads, int64_t dim, bool together, double offset = 0) {
  const auto random = [&](int64_t n, unsigned seed, double scale) {
    return reference::random_normal(size_t(n), seed + unsigned(dim), scale);
  };
  return {rows,
          heads,
          kv_heads,
          dim,
          together,
          random(rows * (heads + 2 * kv_heads) * dim, 1, 3),
          random(together ? heads * dim : dim, 2, 1),
          random(together ? kv_heads * dim : dim, 3, 1),
          1e-5,
          offset};
}

const std::vector<QkNorm> cases() {
  return {random_case(1, 1, 1, 1, false),        random_case(5, 4, 2, 8, false), random_case(33, 3, 3, 20, false, 1),
          random_case(130, 2, 1, 64, false),     random_case(5, 4, 2, 8, true),  random_case(33, 3, 3, 20, true, 1),
          random_case(9, 8, 4, 128, true, 0.5),  random_case(7, 6, 2, 33, true), random_case(3, 4, 1, 5, true),
          random_case(70, 1, 1, 24, false, 0.25)};
}

struct Forward {
  Tensor out, rstd;
};
Forward forward(Device& device, const QkNorm& n) {
  const Forward f{device.out(n.rows, n.row()), device.nan(n.rows, n.parts())};
  device.run(op::QkNorm{.out = f.out,
                        .rstd = f.rstd,
                        .qkv = device.tensor(n.qkv, n.rows, n.row()),
                        .q_weight = device.tensor(n.q_weight, 1, int64_t(n.q_weight.size())),
                        .k_weight = device.tensor(n.k_weight, 1, int64_t(n.k_weight.size())),
                        .num_heads = n.heads,
                        .num_kv_heads = n.kv_heads,
                        .eps = float(n.eps),
                        .offset = float(n.offset)});
  return f;
}

struct Gradients {
  std::vector<float> dqkv, dq_weight, dk_weight;
};
// Those of the weights are added to what is there.
Gradients backward(Device& device, const QkNorm& n, const std::vector<double>& dout,
                   const std::vector<double>& before_q, const std::vector<double>& before_k) {
  const Forward f = forward(device, n);
  const Tensor d = device.tensor(dout, n.rows, n.row());
  const int64_t q = int64_t(n.q_weight.size()), k = int64_t(n.k_weight.size());
  const Tensor dq = device.f32(before_q, 1, q), dk = device.f32(before_k, 1, k);
  device.run(op::QkNormBackward{.dqkv = d,
                                .dq_weight = dq,
                                .dk_weight = dk,
                                .qkv = device.tensor(n.qkv, n.rows, n.row()),
                                .rstd = f.rstd,
                                .q_weight = device.tensor(n.q_weight, 1, q),
                                .k_weight = device.tensor(n.k_weight, 1, k),
                                .num_heads = n.heads,
                                .num_kv_heads = n.kv_heads,
                                .offset = float(n.offset)});
  return {device.floats(d), device.floats(dq), device.floats(dk)};
}
Gradients backward(Device& device, const QkNorm& n, const std::vector<double>& dout) {
  return backward(device, n, dout, std::vector<double>(n.q_weight.size()), std::vector<double>(n.k_weight.size()));
}

TEST(QkNorm, ForwardIsTheFormula) {
  on_every_device([](Device& device) {
    for (const QkNorm& n : cases()) {
      const Forward f = forward(device, n);
      EXPECT_LT(relative_error(device.floats(f.out), n.out()), device.bound(n.out(), 1e-6))
          << n.heads << " x " << n.dim;
      EXPECT_LT(relative_error(device.floats(f.rstd), n.rstd()), 1e-6);
      const std::vector<float> out = device.floats(f.out);
      for (int64_t r = 0; r < n.rows; ++r)
        for (int64_t c = (n.heads + n.kv_heads) * n.dim; c < n.row(); ++c)
          EXPECT_EQ(out[size_t(r * n.row() + c)], float(n.qkv[size_t(r * n.row() + c)]));  // values are copied
    }
  });
}

TEST(QkNorm, BackwardIsTheCentralDifference) {
  on_every_device([](Device& device) {
    for (QkNorm n : {random_case(3, 4, 2, 6, false, 1), random_case(3, 4, 2, 6, true), random_case(66, 2, 1, 3, false),
                     random_case(2, 1, 1, 5, false), random_case(2, 3, 1, 9, true, 0.5)}) {
      const std::vector<double> dout = reference::random_normal(n.qkv.size(), 9);
      const auto loss = [&] {
        const std::vector<double> out = n.out();
        double sum = 0;
        for (size_t i = 0; i < out.size(); ++i) sum += out[i] * dout[i];
        return sum;
      };
      const std::vector<double> dqkv = reference::central_differences(n.qkv, loss),
                                dq = reference::central_differences(n.q_weight, loss),
                                dk = reference::central_differences(n.k_weight, loss);
      const Gradients actual = backward(device, n, dout);
      EXPECT_LT(relative_error(actual.dqkv, dqkv), device.bound(dqkv, 2e-6)) << n.heads << " x " << n.dim;
      EXPECT_LT(relative_error(actual.dq_weight, dq), 2e-6);
      EXPECT_LT(relative_error(actual.dk_weight, dk), 2e-6);
    }
  });
}

// Without the gradients of frozen weights, dqkv is bit-identical.
TEST(QkNorm, FrozenWeightsHaveNoGradient) {
  on_every_device([](Device& device) {
    const QkNorm n = random_case(9, 4, 2, 12, false);
    const std::vector<double> dout = reference::random_normal(n.qkv.size(), 9);
    const Tensor d = device.tensor(dout, n.rows, n.row());
    device.run(op::QkNormBackward{.dqkv = d,
                                  .qkv = device.tensor(n.qkv, n.rows, n.row()),
                                  .rstd = forward(device, n).rstd,
                                  .q_weight = device.tensor(n.q_weight, 1, 12),
                                  .k_weight = device.tensor(n.k_weight, 1, 12),
                                  .num_heads = n.heads,
                                  .num_kv_heads = n.kv_heads});
    EXPECT_TRUE(equal_bits(device.floats(d), backward(device, n, dout).dqkv));
  });
}

TEST(QkNorm, GradientsOfWeightsAreAdded) {
  on_every_device([](Device& device) {
    for (const bool together : {false, true}) {
      const QkNorm n = random_case(65, 4, 2, 12, together);
      const std::vector<double> dout = reference::random_normal(n.qkv.size(), 9);
      const std::vector<double> q = reference::random_normal(n.q_weight.size(), 10),
                                k = reference::random_normal(n.k_weight.size(), 11);
      const Gradients alone = backward(device, n, dout), added = backward(device, n, dout, q, k);
      const auto sum = [](const std::vector<float>& a, std::vector<double> b) {
        for (size_t i = 0; i < b.size(); ++i) b[i] += a[i];
        return b;
      };
      EXPECT_LT(relative_error(added.dq_weight, sum(alone.dq_weight, q)), 1e-6);
      EXPECT_LT(relative_error(added.dk_weight, sum(alone.dk_weight, k)), 1e-6);
    }
  });
}

TEST(QkNorm, RowsDoNotDependOnTheBatch) {
  on_every_device([](Device& device) {
    for (const bool together : {false, true}) {
      const QkNorm n = random_case(200, 4, 2, 24, together);
      const std::vector<float> all = device.floats(forward(device, n).out);
      QkNorm one = n;
      one.rows = 1;
      one.qkv.assign(n.qkv.begin() + 123 * n.row(), n.qkv.begin() + 124 * n.row());
      const std::vector<float> row(all.begin() + 123 * n.row(), all.begin() + 124 * n.row());
      EXPECT_TRUE(equal_bits(device.floats(forward(device, one).out), row));
    }
  });
}

TEST(QkNorm, SameBitsWithAnyThreads) {
  for (const bool together : {false, true})
    expect_same_bits_with_any_threads([&](Device& device) {
      const QkNorm n = random_case(300, 4, 2, 40, together, 1);
      const Gradients g = backward(device, n, reference::random_normal(n.qkv.size(), 7));
      std::vector<float> bits = device.floats(forward(device, n).out);
      for (const std::vector<float>* part : {&g.dqkv, &g.dq_weight, &g.dk_weight})
        bits.insert(bits.end(), part->begin(), part->end());
      return bits;
    });
}

TEST(QkNorm, BadShapesAreRefused) {
  op::QkNorm op{.out = shape(4, 32),
                .rstd = shape(4, 6),
                .qkv = shape(4, 32),
                .q_weight = shape(1, 4),
                .k_weight = shape(1, 4),
                .num_heads = 4,
                .num_kv_heads = 2,
                .eps = 1e-5f};
  EXPECT_NO_THROW(op.check());
  op.rstd = shape(4, 2);
  expect_refused(op, "rstd is (4, 2), expected (4, 6)");
  op.q_weight = shape(1, 16);
  expect_refused(op, "k_weight is (1, 4), expected (1, 8)");
  op.k_weight = shape(1, 8);
  EXPECT_NO_THROW(op.check());
  op.eps = 0;
  expect_refused(op, "eps must be positive, got 0");
}

}  // namespace
}  // namespace heed
