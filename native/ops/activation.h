// Elementwise ops of the MLP and the residual stream.
#pragma once

#include "native/ops/types.h"

namespace heed::op {

// x Φ(x): in GPT-2's tanh form (gelu_new), or exact, with the error function (gelu).
struct Gelu {
  Out out;  // (N, F)
  In x;     // (N, F)
  bool exact = false;
  void check() const;
};
struct GeluBackward {
  Out dx;      // (N, F), may be dout
  In dout, x;  // (N, F)
  bool exact = false;
  void check() const;
};

// max(x, 0), with the derivative 0 at 0.
struct Relu {
  Out out;  // (N, F)
  In x;     // (N, F)
  void check() const;
};
struct ReluBackward {
  Out dx;      // (N, F), may be dout
  In dout, x;  // (N, F)
  void check() const;
};

// Llama's gate: out = silu(gate) · up, with gate and up side by side.
struct SwiGlu {
  Out out;     // (N, F)
  In gate_up;  // (N, 2F): gate, then up
  void check() const;
};
struct SwiGluBackward {
  Out dgate_up;  // (N, 2F), may be gate_up
  In dout;       // (N, F)
  In gate_up;    // (N, 2F)
  void check() const;
};

// Gemma's: out = gelu(gate) · up, GELU in its tanh form.
struct GeGlu {
  Out out;     // (N, F)
  In gate_up;  // (N, 2F): gate, then up
  void check() const;
};
struct GeGluBackward {
  Out dgate_up;  // (N, 2F), may be gate_up
  In dout;       // (N, F)
  In gate_up;    // (N, 2F)
  void check() const;
};

// out = factor · x; its own backward pass.
struct Scale {
  Out out;  // any shape
  In x;     // the same; may be out
  float factor;
  void check() const;
};

// out = cap tanh(x / cap) (Gemma Team 2024): within ± cap.
struct SoftCap {
  Out out;  // any shape
  In x;     // the same; may be out
  float cap;
  void check() const;
};
struct SoftCapBackward {
  Out dx;   // any shape; may be dout
  In dout;  // the same
  In out;   // the same: SoftCap's result
  float cap;
  void check() const;
};

struct Add {
  Out out;  // any shape, the same for all; may be a or b
  In a, b;
  void check() const;
};

// Inverted dropout: out = x · mask / (1 - rate). The mask of element (n, c) is a function of (seed, site, first_row +
// n, c), so that applying the op to a gradient is the backward pass, and splitting a batch changes nothing.
struct Dropout {
  Out out;  // (N, C), may be x
  In x;     // (N, C)
  float rate;
  uint64_t seed;
  uint32_t site;      // index of the dropout in the model
  int64_t first_row;  // index of row 0 among the tokens of the whole optimizer step
  void check() const;
};

}  // namespace heed::op
