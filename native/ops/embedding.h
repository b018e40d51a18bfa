// Token and position embeddings, and rotary positions.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// out[n] = wte[tokens[n]] + wpe[positions[n]]; without wpe (rows = 0) only the first term.
struct Embedding {
  Out out;       // (N, C)
  In tokens;     // (N) i32, in [0, V)
  In positions;  // (N) i32, in [0, T)
  In wte;        // (Vp, C)
  In wpe = {};   // (T, C), or none
  void check() const;
};

struct EmbeddingBackward {
  InOut dwte;       // (Vp, C) f32 +=
  InOut dwpe = {};  // (T, C)  f32 +=, or none
  In dout;          // (N, C)
  In tokens;        // (N) i32
  In positions;     // (N) i32
  void check() const;
};

// Rotates the queries and keys of qkv in place (Su et al. 2021, in the half-split order of transformers' Llama): with
// p = positions[n], j < D/2:   (x_j, x_{j+D/2}) -> (x_j cos_pj - x_{j+D/2} sin_pj,  x_{j+D/2} cos_pj + x_j sin_pj).
// inverse rotates the other way: the backward pass. With R < D rotary channels, only the first R of each head rotate,
// as heads of R channels would.
struct Rope {
  InOut qkv;     // (N, (H + 2 Hk) D): queries, keys, values; values are unchanged
  In positions;  // (N) i32, in [0, T)
  In cos, sin;   // (T, R / 2) f32, R ≤ D
  int64_t num_heads, num_kv_heads;
  bool inverse = false;
  void check() const;
};

}  // namespace heed::op
