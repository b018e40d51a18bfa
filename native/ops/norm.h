// LayerNorm (GPT-2) and RMSNorm (Llama), over the channels of each row. mean, rstd, dweight and dbias are f32. Without
// dweight and dbias the weights are frozen.
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

// out = x · rstd · weight,   rstd = 1 / sqrt(mean(x²) + eps)
struct RmsNorm {
  Out out;    // (N, C)
  Out rstd;   // (N), kept for the backward pass
  In x;       // (N, C)
  In weight;  // (1, C)
  float eps;
  void check() const;
};

struct RmsNormBackward {
  InOut dx;       // (N, C) +=
  InOut dweight;  // (1, C) +=, or none
  In dout;        // (N, C)
  In x;           // (N, C)
  In rstd;        // (N)
  In weight;      // (1, C)
  void check() const;
};

}  // namespace heed::op
