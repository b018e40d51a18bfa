// Helpers of all native tests. References are in double precision, directly from the formulas, and share no code with
// native/; reference_<stem>.h beside this file has those of one subject.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace reference {

// |actual - expected| / |expected| over a tensor. A NaN anywhere makes it NaN, which fails every `<`.
template <class Actual, class Expected>
double relative_error(const Actual& actual, const Expected& expected) {
  if (size_t(actual.size()) != size_t(expected.size())) return NAN;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double d = double(actual[i]) - double(expected[i]);
    difference += d * d;
    norm += double(expected[i]) * double(expected[i]);
  }
  return std::sqrt(difference / (norm + 1e-30));
}

// Central differences of f() over every element of x, which f reads.
template <class F>
std::vector<double> central_differences(std::vector<double>& x, F f, double h = 1e-6) {
  std::vector<double> dx(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double saved = x[i];
    x[i] = saved + h;
    const double up = f();
    x[i] = saved - h;
    const double down = f();
    x[i] = saved;
    dx[i] = (up - down) / (2 * h);
  }
  return dx;
}

// Significant bits of the type under test: 24 for float, 8 for bf16 (set by testing::on_every_device).
inline int significant_bits = 24;

// The nearest value of the type under test, ties to even.
inline double exact(double x) {
  if (!std::isfinite(x) || x == 0) return x;
  const double unit = std::ldexp(1.0, std::ilogb(x) + 1 - significant_bits);
  return std::nearbyint(x / unit) * unit;
}

// Values that are exact in the type under test, so that an op and its reference start from the same numbers.
inline std::vector<double> random_normal(size_t count, unsigned seed, double scale = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, float(scale));
  std::vector<double> values(count);
  for (double& value : values) value = exact(normal(rng));
  return values;
}

inline std::vector<float> to_float(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

struct Gemm {
  int64_t m, n, k;
  std::vector<double> a, b;           // (m, k) and (k, n), or transposed
  std::vector<double> bias = {};      // (1, n) or empty
  std::vector<double> residual = {};  // (m, n) or empty
  bool transpose_a = false, transpose_b = false;

  std::vector<double> out() const {
    std::vector<double> result(size_t(m * n));
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = (bias.empty() ? 0 : bias[size_t(j)]) + (residual.empty() ? 0 : residual[size_t(i * n + j)]);
        for (int64_t p = 0; p < k; ++p)
          sum += a[size_t(transpose_a ? p * m + i : i * k + p)] * b[size_t(transpose_b ? j * k + p : p * n + j)];
        result[size_t(i * n + j)] = sum;
      }
    return result;
  }
};

}  // namespace reference
