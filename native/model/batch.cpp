#include "native/model/batch.h"

#include <algorithm>

namespace heed {

void require_ids(const char* what, const std::vector<int32_t>& ids, int64_t vocab) {
  for (size_t i = 0; i < ids.size(); ++i)
    require(ids[i] >= 0 && ids[i] < vocab, what, " ", i, " is ", ids[i], ", expected an id below the vocabulary's ",
            vocab);
}

std::vector<int32_t> HostBatch::positions() const {
  std::vector<int32_t> positions(tokens.size()), start(parent.size());
  for (size_t s = 0; s < parent.size(); ++s) {
    const int32_t p = parent[s];
    start[s] = p < 0 ? 0 : start[size_t(p)] + cu_seqlens[size_t(p) + 1] - cu_seqlens[size_t(p)];
    for (int32_t n = cu_seqlens[s]; n < cu_seqlens[s + 1]; ++n) positions[size_t(n)] = start[s] + n - cu_seqlens[s];
  }
  return positions;
}

std::vector<HostBatch::Pass> HostBatch::split(const ModelConfig& config, int64_t max_tokens, bool needs_targets) const {
  const int64_t N = int64_t(tokens.size()), S = int64_t(parent.size()), R = int64_t(rows.size());
  require(int64_t(cu_seqlens.size()) == S + 1, "cuSeqlens has ", cu_seqlens.size(), " entries, expected ", S + 1);
  require(cu_seqlens[0] == 0, "cuSeqlens starts with ", cu_seqlens[0], ", expected 0");
  require(cu_seqlens[size_t(S)] == N, "cuSeqlens ends with ", cu_seqlens[size_t(S)],
          ", expected the number of tokens, ", N);
  require_ids("token", tokens, config.vocab);
  if (needs_targets || !targets.empty()) {
    require(int64_t(targets.size()) == R, "targets has ", targets.size(), " entries, expected one per row, ", R);
    require_ids("target", targets, config.vocab);
  }

  std::vector<int32_t> path(static_cast<size_t>(S));  // tokens from the root to the segment's end
  std::vector<Pass> trees;
  int64_t row = 0;
  for (int64_t s = 0; s < S; ++s) {
    const int32_t begin = cu_seqlens[size_t(s)], end = cu_seqlens[size_t(s) + 1], p = parent[size_t(s)];
    require(end > begin && end <= N, "segment ", s, " covers tokens ", begin, " to ", end,
            ", expected at least one token");
    require(p >= -1 && p < s, "parent of segment ", s, " is ", p, ", expected -1 or an earlier segment");
    if (p < 0) {
      trees.push_back({s, s + 1, begin, end, row, row});
    } else {
      require(p >= trees.back().segment_begin, "parent of segment ", s, " is ", p,
              ", which belongs to an earlier tree (the last root is segment ", trees.back().segment_begin, ")");
    }
    path[size_t(s)] = (p < 0 ? 0 : path[size_t(p)]) + end - begin;
    require(path[size_t(s)] <= config.max_positions, "the sequence that ends with segment ", s, " has ",
            path[size_t(s)], " tokens, expected at most the model's ", config.max_positions);
    trees.back().segment_end = s + 1;
    trees.back().token_end = end;
  }
  size_t tree = 0;
  for (; row < R; ++row) {
    const int32_t n = rows[size_t(row)];
    require(n >= 0 && n < N, "row ", row, " is ", n, ", expected a token's index below ", N);
    while (n >= trees[tree].token_end) {
      trees[tree].row_end = row;
      ++tree;
      trees[tree].row_begin = row;
    }
    require(n >= trees[tree].token_begin, "row ", row, " is token ", n, ", which belongs to an earlier tree than row ",
            row - 1, "'s: rows follow the order of trees");
  }
  for (; tree < trees.size(); ++tree) {
    trees[tree].row_end = R;
    if (tree + 1 < trees.size()) trees[tree + 1].row_begin = R;
  }

  std::vector<Pass> passes;
  for (const Pass& t : trees) {
    require(t.num_tokens() <= max_tokens, "the tree of segment ", t.segment_begin, " has ", t.num_tokens(),
            " tokens, expected at most the engine's maxTokens, ", max_tokens);
    if (!passes.empty() && t.token_end - passes.back().token_begin <= max_tokens) {
      passes.back().segment_end = t.segment_end;
      passes.back().token_end = t.token_end;
      passes.back().row_end = t.row_end;
    } else {
      passes.push_back(t);
    }
  }
  return passes;
}

Tensor upload_vector(Backend& backend, Arena& arena, const int32_t* data, int64_t n) {
  const Tensor t = arena.take(DType::i32, n);
  backend.upload(t, data);
  return t;
}

Tensor upload_vector(Backend& backend, Arena& arena, const float* data, int64_t n) {
  const Tensor t = arena.take(DType::f32, n);
  backend.upload(t, data);
  return t;
}

Batch upload(Backend& backend, Arena& arena, const HostBatch& host, const HostBatch::Pass& pass) {
  const std::vector<int32_t> positions = host.positions();
  std::vector<int32_t> cu_seqlens, parent, rows;
  for (int64_t s = pass.segment_begin; s <= pass.segment_end; ++s)
    cu_seqlens.push_back(host.cu_seqlens[size_t(s)] - int32_t(pass.token_begin));
  for (int64_t s = pass.segment_begin; s < pass.segment_end; ++s) {
    const int32_t p = host.parent[size_t(s)];
    parent.push_back(p < 0 ? -1 : p - int32_t(pass.segment_begin));
  }
  for (int64_t r = pass.row_begin; r < pass.row_end; ++r)
    rows.push_back(host.rows[size_t(r)] - int32_t(pass.token_begin));

  const int64_t N = pass.num_tokens(), R = pass.num_rows();
  Batch batch;
  batch.tokens = upload_vector(backend, arena, host.tokens.data() + pass.token_begin, N);
  batch.positions = upload_vector(backend, arena, positions.data() + pass.token_begin, N);
  batch.cu_seqlens = upload_vector(backend, arena, cu_seqlens.data(), int64_t(cu_seqlens.size()));
  batch.parent = upload_vector(backend, arena, parent.data(), int64_t(parent.size()));
  batch.rows = upload_vector(backend, arena, rows.data(), R);
  if (!host.targets.empty()) batch.targets = upload_vector(backend, arena, host.targets.data() + pass.row_begin, R);
  batch.host_positions.assign(positions.begin() + pass.token_begin, positions.begin() + pass.token_end);
  batch.max_path = 1 + *std::max_element(positions.begin() + pass.token_begin, positions.begin() + pass.token_end);
  batch.first_token = pass.token_begin;
  return batch;
}

}  // namespace heed
