#include "native/model/mix.h"

#include <algorithm>

namespace heed {
namespace {

const Model& model_of(const std::vector<MixPart>& parts) {
  const Model& first = *parts[0].model;
  const bool same = std::all_of(parts.begin(), parts.end(), [&](const MixPart& part) { return part.model == &first; });
  return same ? first : first.base();
}

void add_terms(LinearParams& to, const LinearParams& from, int64_t first_row, int64_t num_rows) {
  for (LowRank term : from.adapters) {
    term.first_row = first_row;
    term.num_rows = num_rows;
    to.adapters.push_back(term);
  }
}

}  // namespace

void add_rows(std::vector<MixPart>& parts, const Model& model, int64_t rows) {
  if (!parts.empty() && parts.back().model == &model)
    parts.back().rows += rows;
  else
    parts.push_back({&model, rows});
}

Mix::Mix(const std::vector<MixPart>& parts) : model_(model_of(parts)) {
  const bool one = std::all_of(parts.begin(), parts.end(), [&](const MixPart& part) { return part.model == &model_; });
  if (one) return;
  params_ = model_.params();
  int64_t row = 0;
  for (const MixPart& part : parts) {
    for (size_t l = 0; l < params_->blocks.size(); ++l) {
      BlockParams& to = params_->blocks[l];
      const BlockParams& from = part.model->params().blocks[l];
      add_terms(to.attention.qkv, from.attention.qkv, row, part.rows);
      add_terms(to.attention.out, from.attention.out, row, part.rows);
      add_terms(to.mlp.up, from.mlp.up, row, part.rows);
      add_terms(to.mlp.down, from.mlp.down, row, part.rows);
    }
    row += part.rows;
  }
}

PassContext Mix::pass(Backend& backend, Arena& arena, const Batch& batch) const {
  return {.backend = backend,
          .arena = arena,
          .model = model_,
          .batch = batch,
          .mixed = params_.has_value() ? &*params_ : nullptr};
}

}  // namespace heed
