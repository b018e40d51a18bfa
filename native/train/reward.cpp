// The reward model's loss: all pairs of a ranked group, one batch element (Ouyang et al. 2022, §3.5, eq. 1).
#include <algorithm>

#include "native/train/losses.h"

namespace heed {
namespace {

void check(const HostBatch& batch, const RewardLossOptions& o) {
  const int64_t R = int64_t(batch.rows.size());
  require(int64_t(o.ranks.size()) == R, "ranks has ", o.ranks.size(), " entries, expected one per row, ", R);
  require(!o.cu_groups.empty() && o.cu_groups.front() == 0 && o.cu_groups.back() == R,
          "cuGroups must start with 0 and end with the number of rows, ", R);
  for (size_t g = 0; g + 1 < o.cu_groups.size(); ++g)
    require(o.cu_groups[g + 1] >= o.cu_groups[g] && o.cu_groups[g + 1] <= R,
            "cuGroups decreases or exceeds the number of rows at group ", g);
}

}  // namespace

RewardLossResult Trainer::reward(const HostBatch& batch, const RewardLossOptions& o) {
  require(model_->config().head == Head::kScalar,
          "the reward loss needs a model with a scalar head, but this is a language model");
  check(batch, o);
  const int64_t R = int64_t(batch.rows.size()), G = int64_t(o.cu_groups.size()) - 1;
  RewardLossResult result;
  result.scores.resize(size_t(R));
  result.group_stats.resize(size_t(G * op::kNumPairwiseStats));
  const auto passes = batch.split(model_->config(), engine()->max_tokens(), false);

  // Groups [begin, end) over device scores of rows [first_row, ...): writes their stats and returns dscores.
  const auto pairwise = [&](Backend& b, Arena& arena, const Tensor& scores, int64_t first_row, int64_t begin,
                            int64_t end) {
    std::vector<int32_t> cu(o.cu_groups.begin() + begin, o.cu_groups.begin() + end + 1);
    for (int32_t& x : cu) x -= int32_t(first_row);
    const Tensor dscores = arena.take(DType::f32, scores.rows);
    const Tensor stats = arena.take(DType::f32, end - begin, op::kNumPairwiseStats);
    b.run(op::PairwiseLoss{.dscores = dscores,
                           .group_stats = stats,
                           .scores = scores,
                           .ranks = upload_vector(b, arena, o.ranks.data() + first_row, scores.rows),
                           .cu_groups = upload_vector(b, arena, cu.data(), int64_t(cu.size())),
                           .scale = o.scale});
    b.download(result.group_stats.data() + begin * op::kNumPairwiseStats, stats);
    return dscores;
  };
  const auto group_at = [&](int64_t row) {
    return std::lower_bound(o.cu_groups.begin(), o.cu_groups.end(), int32_t(row)) - o.cu_groups.begin();
  };
  const bool whole_groups = std::all_of(passes.begin(), passes.end(), [&](const HostBatch::Pass& pass) {
    return o.cu_groups[size_t(group_at(pass.row_end))] == pass.row_end;
  });

  if (whole_groups) {
    scalar_loss(batch, passes, [&](Backend& b, Arena& arena, const Tensor& scores, const HostBatch::Pass& pass) {
      b.download(result.scores.data() + pass.row_begin, scores);
      return pairwise(b, arena, scores, pass.row_begin, group_at(pass.row_begin), group_at(pass.row_end));
    });
    return result;
  }
  // A group spans several passes: first all scores, then the passes again with d loss / d score given.
  const int64_t needed = engine()->usage().multiply_adds;
  result.scores = model_->scores(batch);
  engine()->count_multiply_adds(needed - engine()->usage().multiply_adds);  // the passes count it
  std::vector<float> dscores(static_cast<size_t>(R));
  engine()->run([&](Backend& b, Arena& arena) {
    b.download(dscores.data(), pairwise(b, arena, upload_vector(b, arena, result.scores.data(), R), 0, 0, G));
  });
  scalar_loss(batch, passes, [&](Backend& b, Arena& arena, const Tensor& scores, const HostBatch::Pass& pass) {
    return upload_vector(b, arena, dscores.data() + pass.row_begin, scores.rows);
  });
  return result;
}

}  // namespace heed
