// The distribution of a sampled token, in double precision.
#pragma once

#include <algorithm>
#include <numeric>

#include "test/native/reference_logits.h"

namespace reference {

// softmax(logits / temperature) over the top_k most likely tokens (0: all), and of those the smallest set whose
// probability reaches top_p. Ties are taken in the order of their ids.
inline std::vector<double> sampling_distribution(const std::vector<double>& logits, double temperature, size_t top_k,
                                                 double top_p) {
  std::vector<double> prob = log_softmax(logits.data(), int64_t(logits.size()), temperature);
  for (double& p : prob) p = std::exp(p);
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  if (top_k > 0 && top_k < order.size()) order.resize(top_k);
  double total = 0, reached = 0;
  for (const size_t v : order) total += prob[v];
  size_t kept = 0;
  while (kept < order.size() && (kept == 0 || reached < top_p * total)) reached += prob[order[kept++]];
  order.resize(kept);
  std::vector<double> result(logits.size(), 0.0);
  for (const size_t v : order) result[v] = prob[v] / reached;
  return result;
}

}  // namespace reference
