#include "native/model/int8.h"

#include <algorithm>
#include <cmath>

namespace heed {
namespace {

constexpr float kMost = 127;

std::vector<int8_t> downloaded(Backend& backend, const Tensor& t) {
  std::vector<int8_t> values(size_t(t.size()));
  backend.download(values.data(), t);
  return values;
}

std::vector<float> scales_of(Backend& backend, const LinearParams& p) {
  std::vector<float> scales(size_t(p.scale.size()));
  backend.download_floats(scales.data(), p.scale);
  return scales;
}

// Calls f(output, index of the first of its values in the part's order, distance of one from the next) for each output
// of which the part has the weights.
template <class F>
void for_outputs(const LinearParams& p, const NamedPart& part, F f) {
  const int64_t in = p.weight.rows, out = p.weight.cols;
  if (p.layout == Layout::kInOut) {
    for (int64_t o = 0; o < out; ++o) f(o, o, out);
    return;
  }
  int64_t at = 0;
  for (const NamedPart::Piece& piece : part.pieces)
    for (int64_t o = piece.begin / in; o < (piece.begin + piece.size) / in; ++o, at += in) f(o, at, int64_t{1});
}

}  // namespace

void quantize(Backend& backend, const LinearParams& to, const NamedPart& part, const std::vector<float>& values) {
  const int64_t in = to.weight.rows, out = to.weight.cols;
  // A part of a fused matrix leaves the others as they are.
  std::vector<int8_t> q = downloaded(backend, to.weight);
  std::vector<float> scales = scales_of(backend, to);
  for_outputs(to, part, [&](int64_t o, int64_t first, int64_t stride) {
    backend.check_cancelled();
    float most = 0;
    bool finite = true;
    for (int64_t i = 0; i < in; ++i) {
      const float x = std::fabs(values[size_t(first + i * stride)]);
      finite = finite && std::isfinite(x);
      most = std::max(most, x);
    }
    require(finite, "tensor ", part.name, " has values that are not finite numbers, which 8 bits cannot hold");
    const float scale = most / kMost;
    scales[size_t(o)] = scale;
    for (int64_t i = 0; i < in; ++i) {
      const float x = scale == 0 ? 0 : std::nearbyint(values[size_t(first + i * stride)] / scale);
      q[size_t(i * out + o)] = int8_t(std::clamp(x, -kMost, kMost));
    }
  });
  backend.upload(to.weight, q.data());
  backend.upload_floats(to.scale, scales.data());
}

std::vector<float> widened(Backend& backend, const LinearParams& from, const NamedPart& part) {
  const int64_t in = from.weight.rows, out = from.weight.cols;
  const std::vector<int8_t> q = downloaded(backend, from.weight);
  const std::vector<float> scales = scales_of(backend, from);
  std::vector<float> values(size_t(part.size()));
  for_outputs(from, part, [&](int64_t o, int64_t first, int64_t stride) {
    for (int64_t i = 0; i < in; ++i)
      values[size_t(first + i * stride)] = float(q[size_t(i * out + o)]) * scales[size_t(o)];
  });
  return values;
}

const LinearParams& layer_of(const Params& params, const Tensor& t) {
  for (const BlockParams& block : params.blocks)
    for (const LinearParams* p : {&block.attention.qkv, &block.attention.out, &block.mlp.up, &block.mlp.down})
      if (p->weight.data == t.data) return *p;
  throw Error(ErrorCode::Internal, "a tensor of 8 bits is no weight of a linear layer");
}

}  // namespace heed
