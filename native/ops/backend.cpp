#include "native/ops/backend.h"

#include <algorithm>
#include <vector>

#include "native/core/bf16.h"

namespace heed {

void Backend::upload_floats(const Tensor& dst, const float* host) {
  if (dst.dtype == DType::f32 || measuring()) return upload(dst, host);
  std::vector<bf16> halves(static_cast<size_t>(dst.size()));
  std::transform(host, host + dst.size(), halves.begin(), to_bf16);
  upload(dst, halves.data());
}

void Backend::download_floats(float* host, const Tensor& src) {
  if (src.dtype == DType::f32 || measuring()) return download(host, src);
  std::vector<bf16> halves(static_cast<size_t>(src.size()));
  download(halves.data(), src);
  std::transform(halves.begin(), halves.end(), host, to_float);
}

namespace {

uint64_t new_owner() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

RepeatedSteps::RepeatedSteps(Backend& backend) : backend_(backend), owner_(new_owner()) {}

}  // namespace heed
