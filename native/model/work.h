// The work that a pass needs: multiply-adds of matrix products and of attention, by the model's shapes. Norms,
// activations, losses and the optimizer are left out, and so is what a device computes twice to save memory.
#pragma once

#include <vector>

#include "native/model/params.h"

namespace heed {

// Of the trunk's forward pass over tokens at these positions on their paths; a shared prompt's tokens occur once.
int64_t trunk_multiply_adds(const ModelConfig& config, const std::vector<int32_t>& positions);

// Of so many rows of the head.
int64_t head_multiply_adds(const ModelConfig& config, int64_t rows);

// Of the low-rank terms of an adapter, or of each adapter over its rows.
int64_t adapter_multiply_adds(const Params& params, int64_t tokens);

// A backward pass needs twice as much: each product has a gradient of either factor. Frozen weights have none: of their
// products it needs as much again, and twice as much of attention.
inline constexpr int64_t kBackward = 2;
int64_t trunk_backward_multiply_adds(const ModelConfig& config, const std::vector<int32_t>& positions, bool frozen);

}  // namespace heed
