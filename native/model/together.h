// Batches of several models that share one base, in the same passes.
#pragma once

#include <memory>
#include <vector>

#include "native/model/model.h"

namespace heed {

struct TogetherRequest {
  std::shared_ptr<const Model> model;  // an adapter, or the base
  HostBatch batch;                     // with targets, for a language model
  float temperature = 1;               // of a language model
};

struct TogetherResult {
  std::vector<float> values;   // (R) log-probabilities in nats, or scores
  std::vector<float> entropy;  // (R) nats; none of scores
};

// For each request what Model::logprobs or Model::scores gives for it alone, bit for bit. Throws
// Error(InvalidArgument) naming the request whose model has another base, or whose batch is not valid.
std::vector<TogetherResult> compute_together(const std::vector<TogetherRequest>& requests);

}  // namespace heed
