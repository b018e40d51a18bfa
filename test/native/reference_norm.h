// LayerNorm (Ba et al. 2016) and RMSNorm (Zhang & Sennrich 2019) in double precision.
#pragma once

#include "test/native/reference.h"

namespace reference {

struct Norm {
  int64_t rows, cols;
  std::vector<double> x, weight, bias;  // no bias: RMSNorm
  double eps;

  double mean(int64_t r) const {
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += x[size_t(r * cols + c)];
    return bias.empty() ? 0 : sum / double(cols);
  }
  double rstd(int64_t r) const {
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += std::pow(x[size_t(r * cols + c)] - mean(r), 2);
    return 1 / std::sqrt(sum / double(cols) + eps);
  }
  std::vector<double> out() const {
    std::vector<double> result;
    for (int64_t r = 0; r < rows; ++r) {
      const double m = mean(r), s = rstd(r);
      for (int64_t c = 0; c < cols; ++c)
        result.push_back((x[size_t(r * cols + c)] - m) * s * weight[size_t(c)] + (bias.empty() ? 0 : bias[size_t(c)]));
    }
    return result;
  }
};

}  // namespace reference
