// Frozen weights of 8 bits: those of a linear layer with a scale for each of its outputs, its largest magnitude over
// 127.
#pragma once

#include <vector>

#include "native/model/params.h"

namespace heed {

// Rounds the values of a part of a layer's weights, in their order in files, to 8 bits. Throws Error(InvalidArgument)
// naming the part if a value is not finite.
void quantize(Backend& backend, const LinearParams& to, const NamedPart& part, const std::vector<float>& values);

// The values of a part that the weights of 8 bits stand for, in their order in files.
std::vector<float> widened(Backend& backend, const LinearParams& from, const NamedPart& part);

// The layer whose weight `t` is. The tensor must be of 8 bits.
const LinearParams& layer_of(const Params& params, const Tensor& t);

}  // namespace heed
