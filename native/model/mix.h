// One pass under several adapters to one base: the base's products run once over all rows, and each adapter's low-rank
// terms over its own. A product's row has the same bits whatever other rows there are, so that a sequence has the bits
// of a pass under its adapter alone.
#pragma once

#include <optional>
#include <vector>

#include "native/model/pass.h"

namespace heed {

// The next `rows` rows of a batch are computed under this model: an adapter, or the base itself.
struct MixPart {
  const Model* model;
  int64_t rows;
};

// Adds rows to the last part if it is of the same model.
void add_rows(std::vector<MixPart>& parts, const Model& model, int64_t rows);

class Mix {
 public:
  // All models have one base, and the tokens of a sequence are in one part.
  explicit Mix(const std::vector<MixPart>& parts);
  Mix(const Mix&) = delete;
  Mix& operator=(const Mix&) = delete;

  const Params& params() const { return params_.has_value() ? *params_ : model_.params(); }
  // The pass of a batch with as many tokens as the parts have rows. This outlives it.
  PassContext pass(Backend& backend, Arena& arena, const Batch& batch) const;

 private:
  const Model& model_;            // of all parts if they have one, else the base
  std::optional<Params> params_;  // the base's with all adapters' terms; none if the parts have one model
};

}  // namespace heed
