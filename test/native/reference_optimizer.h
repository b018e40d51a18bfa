// AdamW (Loshchilov & Hutter 2019, algorithm 2) in double precision, with the learning rate also on the decay, as
// in PyTorch.
#pragma once

#include "test/native/reference.h"

namespace reference {

struct AdamW {
  double learning_rate, beta1, beta2, eps, weight_decay, grad_scale;
  std::vector<double> weight, m, v;
  int step = 0;

  void update(const std::vector<double>& grad) {
    ++step;
    for (size_t i = 0; i < weight.size(); ++i) {
      const double g = grad[i] * grad_scale;
      weight[i] -= learning_rate * weight_decay * weight[i];
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      const double m_hat = m[i] / (1 - std::pow(beta1, step)), v_hat = v[i] / (1 - std::pow(beta2, step));
      weight[i] -= learning_rate * m_hat / (std::sqrt(v_hat) + eps);
    }
  }
};

}  // namespace reference
