// Causal attention over packed segments with parents (Vaswani et al. 2017, eq. 1) and rotary positions (Su et al.
// 2021), in double precision.
#pragma once

#include "test/native/reference.h"

namespace reference {

struct Attention {
  int64_t heads, kv_heads, dim;
  std::vector<int32_t> cu_seqlens, parent;
  std::vector<double> qkv;  // (N, (heads + 2 kv_heads) dim)
  int64_t window = 0;       // 0: none
  double scale = 0;         // of scores; 0: 1 / √dim
  double softcap = 0;       // 0: none

  double factor() const { return scale == 0 ? 1 / std::sqrt(double(dim)) : scale; }

  int64_t tokens() const { return cu_seqlens.back(); }
  int64_t row() const { return (heads + 2 * kv_heads) * dim; }
  int64_t segments() const { return int64_t(parent.size()); }

  // The tokens on the path from the root to each token, which is the last. Its index there is its position.
  std::vector<std::vector<int64_t>> paths() const {
    std::vector<std::vector<int64_t>> to_token(static_cast<size_t>(tokens())), to_segment;
    for (size_t s = 0; s < parent.size(); ++s) {
      std::vector<int64_t> path = parent[s] < 0 ? std::vector<int64_t>{} : to_segment[size_t(parent[s])];
      for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
        path.push_back(t);
        to_token[size_t(t)] = path;
      }
      to_segment.push_back(path);
    }
    return to_token;
  }
  // The tokens of the path that each token attends to.
  std::vector<std::vector<int64_t>> visible() const {
    std::vector<std::vector<int64_t>> seen = paths();
    for (auto& path : seen)
      if (window > 0 && int64_t(path.size()) > window) path.erase(path.begin(), path.end() - window);
    return seen;
  }
  int64_t max_path() const {
    size_t longest = 0;
    for (const auto& path : paths()) longest = std::max(longest, path.size());
    return int64_t(longest);
  }

  double query(int64_t t, int64_t h, int64_t d) const { return qkv[size_t(t * row() + h * dim + d)]; }
  double key(int64_t t, int64_t h, int64_t d) const { return qkv[key_at(t, h, d)]; }
  double value(int64_t t, int64_t h, int64_t d) const { return qkv[value_at(t, h, d)]; }
  // Index into qkv, in the key/value head of query head h.
  size_t key_at(int64_t t, int64_t h, int64_t d) const {
    return size_t(t * row() + (heads + h / (heads / kv_heads)) * dim + d);
  }
  size_t value_at(int64_t t, int64_t h, int64_t d) const { return key_at(t, h, d) + size_t(kv_heads * dim); }

  std::vector<double> scores(int64_t t, int64_t h, const std::vector<int64_t>& seen) const {
    std::vector<double> result;
    for (const int64_t j : seen) {
      double sum = 0;
      for (int64_t d = 0; d < dim; ++d) sum += query(t, h, d) * key(j, h, d);
      sum *= factor();
      result.push_back(softcap == 0 ? sum : softcap * std::tanh(sum / softcap));
    }
    return result;
  }

  struct Result {
    std::vector<double> out, lse;
  };
  Result forward() const {
    Result result{std::vector<double>(size_t(tokens() * heads * dim)), std::vector<double>(size_t(tokens() * heads))};
    const auto seen = visible();
    for (int64_t t = 0; t < tokens(); ++t)
      for (int64_t h = 0; h < heads; ++h) {
        const std::vector<double> s = scores(t, h, seen[size_t(t)]);
        const double lse = log_sum_exp(s);
        result.lse[size_t(t * heads + h)] = lse;
        for (size_t j = 0; j < s.size(); ++j)
          for (int64_t d = 0; d < dim; ++d)
            result.out[size_t((t * heads + h) * dim + d)] += std::exp(s[j] - lse) * value(seen[size_t(t)][j], h, d);
      }
    return result;
  }

  // d (Σ dout · out) / d qkv. With `out`, δ = Σ_d dout out is computed from it instead of the exact one.
  std::vector<double> backward(const std::vector<double>& dout, const std::vector<double>* out = nullptr) const {
    std::vector<double> dqkv(qkv.size());
    const auto seen = visible();
    for (int64_t t = 0; t < tokens(); ++t)
      for (int64_t h = 0; h < heads; ++h) {
        const std::vector<double> s = scores(t, h, seen[size_t(t)]);
        const double lse = log_sum_exp(s);
        std::vector<double> p, dp;
        double mean = 0;
        for (size_t j = 0; j < s.size(); ++j) {
          p.push_back(std::exp(s[j] - lse));
          dp.push_back(0);
          for (int64_t d = 0; d < dim; ++d) {
            const double g = dout[size_t((t * heads + h) * dim + d)];
            dp[j] += g * value(seen[size_t(t)][j], h, d);
            dqkv[value_at(seen[size_t(t)][j], h, d)] += p[j] * g;
          }
          mean += p[j] * dp[j];
        }
        if (out != nullptr) {
          mean = 0;
          for (int64_t d = 0; d < dim; ++d)
            mean += dout[size_t((t * heads + h) * dim + d)] * (*out)[size_t((t * heads + h) * dim + d)];
        }
        for (size_t j = 0; j < s.size(); ++j) {
          const double tanh = softcap == 0 ? 0 : s[j] / softcap;
          const double ds = p[j] * (dp[j] - mean) * (1 - tanh * tanh) * factor();
          for (int64_t d = 0; d < dim; ++d) {
            dqkv[size_t(t * row() + h * dim + d)] += ds * key(seen[size_t(t)][j], h, d);
            dqkv[key_at(seen[size_t(t)][j], h, d)] += ds * query(t, h, d);
          }
        }
      }
    return dqkv;
  }

  static double log_sum_exp(const std::vector<double>& s) {
    double most = s[0], sum = 0;
    for (const double x : s) most = std::max(most, x);
    for (const double x : s) sum += std::exp(x - most);
    return most + std::log(sum);
  }
};

}  // namespace reference
