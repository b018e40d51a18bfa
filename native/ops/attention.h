// Causal self-attention over packed segments with parents, and over a key/value cache.
//
// A token sees its own segment up to itself and the whole of its ancestors; its absolute position is its place on the
// path from the root. Whatever the segment cuts, the packing, or whether the keys come from the batch or a cache, a
// query's output has the same bits: every sum over keys is made in an order of absolute positions alone. Scores are
// scaled by 1/√D. With grouped queries, head h reads key/value head h / (H / Hk).
//
// With a sliding window (Beltagy et al. 2020), a query at position p sees only the positions above p - window: `window`
// of them with its own, fewer near the start. 0 is no window. Each of the three ops has the field, and a backend that
// has no kernel for it must refuse what is not 0. What lies outside is not only masked but skipped: with it, the time
// of long sequences grows with their length and no more.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

struct Attention {
  Out out;        // (N, H D)
  Out lse;        // (N, H) f32: log-sum-exp of the scaled scores, kept for the backward pass
  In qkv;         // (N, (H + 2 Hk) D): queries, keys, values
  In cu_seqlens;  // (S + 1) i32: where each segment starts; the last is N
  In parent;      // (S) i32: an earlier segment, or -1
  int64_t num_heads, num_kv_heads;
  int64_t max_path;  // longest path root -> leaf, tokens
  int64_t window;    // positions that a query sees, or 0 for all
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
  void check() const;
};

// The keys and values of a layer's cache have the shapes that the backend gives (Backend::cache_shape): how they lie
// there is its own. In all of its ops they have the type of qkv.
struct CacheWrite {
  InOut keys, values;  // only the written positions change
  In qkv;              // (N, (H + 2 Hk) D)
  In slots;            // (N) i32: the slot of each token; -1 writes nothing
  In positions;        // (N) i32, in [0, T)
  int64_t num_heads, num_kv_heads;
  void check() const;
};

// Copies the first lengths[i] positions of slot from[i] to slot to[i]: several samples of one prompt, computed once.
struct CacheCopy {
  InOut keys, values;
  In from, to, lengths;  // (n) i32
  int64_t num_kv_heads, head_dim;
  void check() const;
};

// One query per live slot: out[b] attends to positions 0 .. positions[b] of slots[b], or the last `window` of them, its
// own key already written.
struct AttentionDecode {
  Out out;          // (B, H D)
  In qkv;           // (B, (H + 2 Hk) D); only the queries are read
  In keys, values;  // of one layer
  In slots;         // (B) i32
  In positions;     // (B) i32
  int64_t num_heads, num_kv_heads;
  int64_t window;
  void check() const;
};

}  // namespace heed::op
