// The reward model's loss (Ouyang et al. 2022, eq. 1) in double precision.
#pragma once

#include "test/native/reference.h"

namespace reference {

struct Pairwise {
  std::vector<double> scores;
  std::vector<int32_t> ranks, cu_groups;

  struct Group {
    double loss = 0, correct = 0;
    int pairs = 0;
  };
  Group group(size_t g) const {
    Group result;
    for (int32_t w = cu_groups[g]; w < cu_groups[g + 1]; ++w)
      for (int32_t l = cu_groups[g]; l < cu_groups[g + 1]; ++l) {
        if (!(ranks[size_t(w)] < ranks[size_t(l)])) continue;
        const double margin = scores[size_t(w)] - scores[size_t(l)];
        result.loss += std::log(1 + std::exp(-margin));
        result.correct += margin > 0 ? 1 : margin == 0 ? 0.5 : 0;
        ++result.pairs;
      }
    if (result.pairs > 0) result.loss /= result.pairs;
    return result;
  }
  double loss() const {
    double sum = 0;
    for (size_t g = 0; g + 1 < cu_groups.size(); ++g) sum += group(g).loss;
    return sum;
  }
};

}  // namespace reference
