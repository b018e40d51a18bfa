// What attention's kernels are given, and which there are.
#pragma once

#include <cuda_bf16.h>

#include "native/cuda/segments.h"

namespace heed::cuda {

template <class T>
struct AttentionOf {
  T* out;        // (tokens, heads · dim)
  float* lse;    // (tokens, heads)
  const T* qkv;  // (tokens, Heads::row())
  Segments segments;
  Heads heads;
  int tokens, max_path;
};

template <class T>
struct AttentionBackwardOf {
  T* dqkv;
  const T* dout;
  const T* qkv;
  const float *lse, *delta;  // (tokens, heads); delta = Σ_d dout · out
  Segments segments;
  Heads heads;
  int tokens, max_path;
};

template <class T>
struct DecodeOf {
  T* out;            // (rows, heads · dim)
  const T* qkv;      // (rows, Heads::row())
  T *keys, *values;  // (slots, kv_heads, length, dim)
  const int32_t *slots, *positions;
  Heads heads;
  int rows, length;
  bool writes;  // the keys and values of the rows themselves, which are read where they come from

  // A row's key or value at a position: its own, or what the cache has for this slot and head from `cached` on.
  __device__ const T* at(int position, int last, const T* own, const T* cached) const {
    return writes && position == last ? own : cached + int64_t(position) * heads.dim;
  }
};

// Whether a segment is another one, or has it among its ancestors, which come before it.
__device__ inline bool descends(const Segments& segments, int segment, int ancestor) {
  while (segment > ancestor) segment = segments.parent[segment];
  return segment == ancestor;
}

// From the first token of an ancestor, or of the segment itself, to the first of the segment.
__device__ inline int distance(const Segments& segments, int segment, int ancestor) {
  int tokens = 0;
  while (segment > ancestor) {
    segment = segments.parent[segment];
    tokens += segments.length(segment);
  }
  return tokens;
}

// Any type and head dimension.
template <class T>
void attend_plain(const AttentionOf<T>& op, cudaStream_t stream);
template <class T>
void attend_backward_plain(const AttentionBackwardOf<T>& op, cudaStream_t stream);
template <class T>
void decode_plain(const DecodeOf<T>& op, cudaStream_t stream);

// On tensor cores: head dimensions 64 and 128.
template <int kDim>
void attend(const AttentionOf<bf16>& op, cudaStream_t stream);
template <int kDim>
void attend_wgmma(const AttentionOf<bf16>& op, cudaStream_t stream);  // the same bits on Hopper
template <int kDim>
void attend_backward(const AttentionBackwardOf<bf16>& op, cudaStream_t stream);
template <int kDim>
void attend_backward_wgmma(const AttentionBackwardOf<bf16>& op, cudaStream_t stream);  // the same bits on Hopper
template <int kDim>
void decode(const DecodeOf<bf16>& op, cudaStream_t stream);
// The same bits by more blocks, for few rows and a long cache.
bool splits_decode(const DecodeOf<bf16>& op);
int64_t split_decode_bytes(const DecodeOf<bf16>& op);
template <int kDim>
void decode_split(const DecodeOf<bf16>& op, void* scratch, cudaStream_t stream);

}  // namespace heed::cuda
