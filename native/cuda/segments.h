// Where the tokens of a segment and of its ancestors are, and what all of attention's kernels are given.
#pragma once

#include <cstdint>

#include "native/cuda/ptx.h"

namespace heed::cuda {

struct Segments {
  const int32_t* cu_seqlens;  // (count + 1)
  const int32_t* parent;      // (count)
  int count;

  __device__ int length(int s) const { return cu_seqlens[s + 1] - cu_seqlens[s]; }
};

// The path of a segment: its ancestors' tokens, then its own, by absolute position.
struct Path {
  const Segments& segments;
  int segment, begin, end;  // absolute positions of the segment's own tokens

  __device__ Path(const Segments& all, int segment) : segments(all), segment(segment), begin(0) {
    for (int s = all.parent[segment]; s >= 0; s = all.parent[s]) begin += all.length(s);
    end = begin + all.length(segment);
  }
  // The token at a position before end.
  __device__ int token(int position) const {
    int s = segment, first = begin;
    while (position < first) {
      s = segments.parent[s];
      first -= segments.length(s);
    }
    return segments.cu_seqlens[s] + position - first;
  }
};

// Where the heads are in a row of qkv, and what a query of theirs sees.
struct Heads {
  int heads, kv_heads, dim;
  float scale;    // of scores
  float softcap;  // of scaled scores, or 0 for none
  int window;     // positions that a query sees, or 0 for all

  // The first position that the query at a position sees.
  __device__ int first_seen(int position) const { return window == 0 ? 0 : max(0, position + 1 - window); }

  __device__ int row() const { return (heads + 2 * kv_heads) * dim; }
  __device__ int group() const { return heads / kv_heads; }
  __device__ int kv_head(int head) const { return head / group(); }
  __device__ int key(int kv_head) const { return (heads + kv_head) * dim; }
  __device__ int value(int kv_head) const { return (heads + kv_heads + kv_head) * dim; }
};

template <class Op>
Heads heads_of(const Op& op) {
  const int dim = int(op.out.cols / op.num_heads);
  return {int(op.num_heads), int(op.num_kv_heads), dim, op.scale == 0 ? 1.0f / sqrtf(float(dim)) : op.scale,
          op.softcap,        int(op.window)};
}
template <class Op>
Segments segments_of(const Op& op) {
  return {op.cu_seqlens.template ptr<int32_t>(), op.parent.template ptr<int32_t>(), int(op.parent.rows)};
}

}  // namespace heed::cuda
