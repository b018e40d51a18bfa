// LayerNorm (Ba et al. 2016) and RMSNorm (Zhang & Sennrich 2019) in double precision.
#pragma once

#include "test/native/reference.h"

namespace reference {

struct Norm {
  int64_t rows, cols;
  std::vector<double> x, weight, bias;  // no bias: RMSNorm
  double eps;
  double offset = 0;  // of RMSNorm's weight

  double mean(int64_t r) const {
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += x[size_t(r * cols + c)];
    return bias.empty() ? 0 : sum / double(cols);
  }
  double rstd(int64_t r) const {
    const double m = mean(r);
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += std::pow(x[size_t(r * cols + c)] - m, 2);
    return 1 / std::sqrt(sum / double(cols) + eps);
  }
  std::vector<double> out() const {
    std::vector<double> result;
    for (int64_t r = 0; r < rows; ++r) {
      const double m = mean(r), s = rstd(r);
      for (int64_t c = 0; c < cols; ++c)
        result.push_back((x[size_t(r * cols + c)] - m) * s * (offset + weight[size_t(c)]) +
                         (bias.empty() ? 0 : bias[size_t(c)]));
    }
    return result;
  }
  // dx += rstd (g - mean(g) - x̂ mean(g x̂)),  dweight += Σ dout x̂,  dbias += Σ dout, where x̂ = (x - mean) rstd and
  // g = dout (offset + weight); of RMSNorm without the mean of g.
  void add_gradients(const std::vector<double>& dout, std::vector<double>& dx, std::vector<double>& dweight,
                     std::vector<double>& dbias) const {
    for (int64_t r = 0; r < rows; ++r) {
      const double m = mean(r), s = rstd(r);
      const auto normed = [&](int64_t c) { return (x[size_t(r * cols + c)] - m) * s; };
      const auto g = [&](int64_t c) { return dout[size_t(r * cols + c)] * (offset + weight[size_t(c)]); };
      double mean_g = 0, mean_gx = 0;
      for (int64_t c = 0; c < cols; ++c) {
        mean_g += bias.empty() ? 0 : g(c) / double(cols);
        mean_gx += g(c) * normed(c) / double(cols);
      }
      for (int64_t c = 0; c < cols; ++c) {
        dx[size_t(r * cols + c)] += s * (g(c) - mean_g - normed(c) * mean_gx);
        dweight[size_t(c)] += dout[size_t(r * cols + c)] * normed(c);
        dbias[size_t(c)] += dout[size_t(r * cols + c)];
      }
    }
  }
};

// RMSNorm of the queries and keys in the rows of qkv: of each head, or of all heads together.
struct QkNorm {
  int64_t rows, heads, kv_heads, dim;
  bool together;
  std::vector<double> qkv, q_weight, k_weight;
  double eps, offset;

  int64_t row() const { return (heads + 2 * kv_heads) * dim; }
  int64_t parts() const { return together ? 2 : heads + kv_heads; }
  // Of a row of qkv, as norms of one row each: the queries' parts, then the keys'.
  std::vector<Norm> norms(int64_t r) const {
    std::vector<Norm> all;
    const auto add = [&](int64_t first, int64_t count, const std::vector<double>& weight) {
      const int64_t width = together ? count * dim : dim;
      for (int64_t at = first; at < first + count * dim; at += width)
        all.push_back(
            {1, width, {qkv.begin() + r * row() + at, qkv.begin() + r * row() + at + width}, weight, {}, eps, offset});
    };
    add(0, heads, q_weight);
    add(heads * dim, kv_heads, k_weight);
    return all;
  }
  std::vector<double> out() const {
    std::vector<double> result;
    for (int64_t r = 0; r < rows; ++r) {
      for (const Norm& norm : norms(r)) {
        const std::vector<double> part = norm.out();
        result.insert(result.end(), part.begin(), part.end());
      }
      result.insert(result.end(), qkv.begin() + r * row() + (heads + kv_heads) * dim, qkv.begin() + (r + 1) * row());
    }
    return result;
  }
  std::vector<double> rstd() const {
    std::vector<double> result;
    for (int64_t r = 0; r < rows; ++r)
      for (const Norm& norm : norms(r)) result.push_back(norm.rstd(0));
    return result;
  }
};

}  // namespace reference
