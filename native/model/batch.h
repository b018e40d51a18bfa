// Packed batches: validated on the host, split into passes, uploaded.
#pragma once

#include <vector>

#include "native/engine.h"
#include "native/model/config.h"

namespace heed {

class KvCache;

struct HostBatch {
  std::vector<int32_t> tokens;      // (N)
  std::vector<int32_t> cu_seqlens;  // (S + 1)
  std::vector<int32_t> parent;      // (S) an earlier segment of the same tree, or -1
  std::vector<int32_t> rows;        // (R) in [0, N); the rows of a tree are contiguous, trees in order
  std::vector<int32_t> targets;     // (R), or empty for a scalar model

  // Consecutive complete trees (a root with all its descendants) of at most max_tokens tokens together.
  struct Pass {
    int64_t segment_begin, segment_end, token_begin, token_end, row_begin, row_end;
    int64_t num_tokens() const { return token_end - token_begin; }
    int64_t num_rows() const { return row_end - row_begin; }
  };

  // Validates the batch and splits it into passes. Throws Error(InvalidArgument) naming segment, row or token.
  std::vector<Pass> split(const ModelConfig& config, int64_t max_tokens, bool needs_targets) const;
  std::vector<int32_t> positions() const;  // (N) position on the path from the root
};

// A pass on the device. With a cache, keys and values are written to it; with decode, attention reads them from it, and
// each token is the next one of its sequence.
struct Batch {
  Tensor tokens, positions;             // (N) i32
  Tensor cu_seqlens, parent;            // (S + 1), (S) i32
  Tensor rows, targets;                 // (R) i32, rows counted from the pass's first token
  std::vector<int32_t> host_positions;  // (N)
  int64_t max_path = 0;
  int64_t first_token = 0;  // index in the whole batch of the pass's first token
  const KvCache* cache = nullptr;
  Tensor slots;  // (N) i32
  bool decode = false;
  bool distinct_slots = false;  // no slot has two of the tokens
};

Batch upload(Backend& backend, Arena& arena, const HostBatch& host, const HostBatch::Pass& pass);

// Throws Error(InvalidArgument) naming the first invalid id: "token 3 is 99, ...".
void require_ids(const char* what, const std::vector<int32_t>& ids, int64_t vocab);

// A host vector as a device tensor (n, 1).
Tensor upload_vector(Backend& backend, Arena& arena, const int32_t* data, int64_t n);
Tensor upload_vector(Backend& backend, Arena& arena, const float* data, int64_t n);

}  // namespace heed
