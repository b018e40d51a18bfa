// One pass of a model over a batch: what each part of the model needs besides its own tensors.
#pragma once

#include "native/model/model.h"

namespace heed {

// Residual dropout (Ouyang et al. 2022, app. C.1: 0.2 in SFT); rate 0 is off.
struct DropoutKey {
  float rate = 0;
  uint64_t seed = 0;       // of the optimizer step
  float adapter_rate = 0;  // of the inputs of adapters
};

struct PassContext {
  Backend& backend;
  Arena& arena;
  const Model& model;
  const Batch& batch;
  DropoutKey dropout = {};
  // Gradient checkpointing (Chen et al. 2016): blocks keep only their inputs, and the backward pass computes the rest
  // again, with the same bits.
  bool checkpointing = false;
  const Params* mixed = nullptr;  // in place of the model's, where rows have different adapters (native/model/mix.h)

  const ModelConfig& config() const { return model.config(); }
  const Params& params() const { return mixed == nullptr ? model.params() : *mixed; }
  int64_t tokens() const { return batch.tokens.rows; }

  // Memory from the arena: activations and their gradients, and tensors that are f32 in every number format.
  Tensor activation(int64_t rows, int64_t cols) const { return arena.take(model.engine()->dtype(), rows, cols); }
  Tensor statistic(int64_t rows, int64_t cols = 1) const { return arena.take(DType::f32, rows, cols); }
};

}  // namespace heed
