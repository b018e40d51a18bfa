// The distribution of a row of logits, in double precision.
#pragma once

#include <algorithm>

#include "test/native/reference.h"

namespace reference {

// log softmax(z / temperature), of `vocab` values.
inline std::vector<double> log_softmax(const double* z, int64_t vocab, double temperature = 1) {
  const double max = *std::max_element(z, z + vocab);
  double sum = 0;
  for (int64_t v = 0; v < vocab; ++v) sum += std::exp((z[v] - max) / temperature);
  std::vector<double> logp;
  for (int64_t v = 0; v < vocab; ++v) logp.push_back((z[v] - max) / temperature - std::log(sum));
  return logp;
}

inline double entropy(const std::vector<double>& logp) {
  double sum = 0;
  for (const double l : logp)
    if (std::isfinite(l)) sum -= std::exp(l) * l;
  return sum;
}

}  // namespace reference
