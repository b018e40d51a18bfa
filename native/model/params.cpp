#include "native/model/params.h"

namespace heed {

ParamStore::ParamStore(Engine& engine, const ModelConfig& config, Engine::Purpose purpose) {
  constexpr int64_t kAlign = 64;  // floats
  int64_t floats = 0;
  params.visit(config, [&](Tensor& t, const ParamSpec& spec) {
    t = {nullptr, DType::f32, spec.rows, spec.cols};
    floats += (t.size() + kAlign - 1) / kAlign * kAlign;
  });
  buffer = engine.allocate(floats * 4, purpose);
  float* next = static_cast<float*>(buffer.data());
  params.visit(config, [&](Tensor& t, const ParamSpec& spec) {
    t = {next, DType::f32, spec.rows, spec.cols};
    next += (t.size() + kAlign - 1) / kAlign * kAlign;
  });
}

}  // namespace heed
