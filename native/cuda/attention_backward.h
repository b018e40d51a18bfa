// The gradients of attention on tensor cores (Dao 2023), without atomics: one kernel goes from queries to keys for dQ,
// one from keys to queries for dK and dV. With P = exp(scale · q k - lse) and δ = Σ_d dout out:
//   dV = Pᵀ dout     dS = P (dout Vᵀ - δ)     dQ = scale · dS K     dK = scale · dSᵀ Q
#pragma once

#include "native/cuda/attention.h"
#include "native/cuda/attention_tile.h"

namespace heed::cuda {

constexpr int kBlock = 64;  // queries, and keys

__device__ inline float probability(float score, float to_log2, float lse2) {
  return exp2_in_range(max_or_nan(fmaf(score, to_log2, -lse2), -126.0f));
}

// The blocks of queries that see `keys` keys of a segment from its `tile`-th block on, in the order of segments, heads
// and positions.
struct QueryBlocks {
  const Segments& segments;
  int ancestor, tile, keys, heads, window;
  int segment, head, at;
  int first;  // of the segment's positions, with the ancestor's first as 0

  __device__ QueryBlocks(const Segments& segments, int ancestor, int tile, int keys, const Heads& heads)
      : segments(segments),
        ancestor(ancestor),
        tile(tile),
        keys(keys),
        heads(heads.group()),
        window(heads.window),
        segment(ancestor),
        head(0),
        at(tile),
        first(0) {}
  __device__ bool valid() const { return segment < segments.count; }
  __device__ int token() const { return segments.cu_seqlens[segment] + at * kBlock; }
  __device__ int count() const { return min(kBlock, segments.length(segment) - at * kBlock); }
  // From the block of keys to the queries.
  __device__ int distance() const { return first + (at - tile) * kBlock; }
  __device__ bool inside() const {
    return at * kBlock < segments.length(segment) && (window == 0 || distance() < window + keys - 1);
  }
  __device__ void next() {
    ++at;
    if (inside()) return;
    at = segment == ancestor ? tile : 0;
    if (++head < heads) return;
    head = at = 0;
    do {
      if (++segment == segments.count) return;
      if (!descends(segments, segment, ancestor)) continue;
      first = cuda::distance(segments, segment, ancestor);
      if (inside()) return;
    } while (true);
  }
};

}  // namespace heed::cuda
