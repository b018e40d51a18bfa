// Causal self-attention over packed segments with parents, and over a key/value cache.
//
// A token attends to its own segment up to itself and to all tokens of its ancestors; its absolute position is its
// place on the path from the root. A query's output is bit-identical however the path is split into segments, however
// segments are packed, and whether the keys come from the batch or a cache: sums over keys follow absolute positions.
// Scores are scaled by 1/√D, or by `scale` if it is not 0. With a softcap that is not 0 they then become
// softcap tanh(score / softcap) (Gemma Team 2024). With grouped queries, head h reads key/value head h / (H / Hk).
//
// With a sliding window (Beltagy et al. 2020), a query at position p attends only to positions above p - window:
// `window` of them including its own, fewer near the start. 0 is no window. Each of the three ops has the field, and a
// backend without a kernel for it must refuse any value but 0. Positions outside the window are not only masked but
// skipped, so that the time of long sequences grows linearly with their length.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

struct Attention {
  Out out;        // (N, H D)
  Out lse;        // (N, H) f32: log-sum-exp of the scaled scores, kept for the backward pass
  In qkv;         // (N, (H + 2 Hk) D): queries, keys, values
  In cu_seqlens;  // (S + 1) i32: where each segment starts; the last entry is N
  In parent;      // (S) i32: an earlier segment, or -1
  int64_t num_heads, num_kv_heads;
  int64_t max_path;  // longest path root -> leaf, tokens
  int64_t window;    // positions that a query attends to, or 0 for all
  float scale = 0, softcap = 0;
  void check() const;
};

struct AttentionBackward {
  Out dqkv;       // (N, (H + 2 Hk) D); a parent's dK and dV hold the sum over all its descendants
  In dout, out;   // (N, H D)
  In lse;         // (N, H) f32
  In qkv;         // (N, (H + 2 Hk) D)
  In cu_seqlens;  // (S + 1) i32
  In parent;      // (S) i32
  int64_t num_heads, num_kv_heads;
  int64_t max_path;
  int64_t window;
  float scale = 0, softcap = 0;
  void check() const;
};

// The keys and values of a layer's cache have the shapes of Backend::cache_shape; the backend determines their layout.
// In all cache ops they have the type of qkv.
struct CacheWrite {
  InOut keys, values;  // only the written positions change
  In qkv;              // (N, (H + 2 Hk) D)
  In slots;            // (N) i32: the slot of each token; -1 writes nothing
  In positions;        // (N) i32, in [0, T)
  int64_t num_heads, num_kv_heads;
  void check() const;
};

// Copies the first lengths[i] positions of slot from[i] to slot to[i]: for several samples of a prompt that is computed
// once.
struct CacheCopy {
  InOut keys, values;
  In from, to, lengths;  // (n) i32
  int64_t num_kv_heads, head_dim;
  void check() const;
};

// out[b] attends to positions 0 .. positions[b] of slots[b], or the last `window` of them, whose own key is already
// written.
struct AttentionDecode {
  Out out;          // (B, H D)
  In qkv;           // (B, (H + 2 Hk) D); only the queries are read
  In keys, values;  // of one layer
  In slots;         // (B) i32
  In positions;     // (B) i32
  int64_t num_heads, num_kv_heads;
  int64_t window;
  bool distinct_slots = false;  // known: no slot occurs twice
  float scale = 0, softcap = 0;
  void check() const;
};

}  // namespace heed::op
