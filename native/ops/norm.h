// LayerNorm (GPT-2) and RMSNorm (Llama), over the channels of each row, and RMSNorm of queries and keys. mean, rstd,
// dweight and dbias are f32. Without the gradients of weights and biases these are frozen.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// out = (x - mean) · rstd · weight + bias,   rstd = 1 / sqrt(var + eps), population variance
struct LayerNorm {
  Out out;          // (N, C)
  Out mean, rstd;   // (N), kept for the backward pass
  In x;             // (N, C)
  In weight, bias;  // (1, C)
  float eps;
  void check() const;
};

struct LayerNormBackward {
  InOut dx;              // (N, C) +=
  InOut dweight, dbias;  // (1, C) +=, both or none
  In dout;               // (N, C)
  In x;                  // (N, C)
  In mean, rstd;         // (N)
  In weight;             // (1, C)
  void check() const;
};

// out = x · rstd · (offset + weight),   rstd = 1 / sqrt(mean(x²) + eps)
struct RmsNorm {
  Out out;    // (N, C)
  Out rstd;   // (N), kept for the backward pass
  In x;       // (N, C)
  In weight;  // (1, C)
  float eps;
  float offset = 0;  // Gemma: 1
  void check() const;
};

struct RmsNormBackward {
  InOut dx;       // (N, C) +=
  InOut dweight;  // (1, C) +=, or none
  In dout;        // (N, C)
  In x;           // (N, C)
  In rstd;        // (N)
  In weight;      // (1, C)
  float offset = 0;
  void check() const;
};

// RMSNorm of the queries and of the keys: of each head, if the weights have D columns (Dehghani et al. 2023), or of all
// heads together, if they have as many as the heads. Values are copied.
struct QkNorm {
  Out out;      // (N, (H + 2 Hk) D): queries, keys, values
  Out rstd;     // (N, H + Hk), or (N, 2) of all heads together; kept for the backward pass
  In qkv;       // (N, (H + 2 Hk) D)
  In q_weight;  // (1, D), or (1, H D)
  In k_weight;  // (1, D), or (1, Hk D)
  int64_t num_heads, num_kv_heads;
  float eps;
  float offset = 0;
  void check() const;
};

struct QkNormBackward {
  InOut dqkv;                  // (N, (H + 2 Hk) D) in: gradient of out; out: of qkv. Values are unchanged
  InOut dq_weight, dk_weight;  // as the weights, f32 +=, or none
  In qkv;                      // (N, (H + 2 Hk) D)
  In rstd;                     // (N, H + Hk), or (N, 2)
  In q_weight, k_weight;
  int64_t num_heads, num_kv_heads;
  float offset = 0;
  void check() const;
};

}  // namespace heed::op
