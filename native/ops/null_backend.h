// Runs nothing. Ops are still checked, so a model run on it with a measuring Arena proves its shapes and reports
// exactly how much memory the real run will need.
#pragma once

#include "native/ops/backend.h"

namespace heed {

class NullBackend final : public Backend {
 public:
  void* allocate(int64_t) override { return nullptr; }
  void release(void*) noexcept override {}
  void upload(const Tensor&, const void*) override {}
  void download(void*, const Tensor&) override {}
  void copy(const Tensor&, const Tensor&) override {}
  void zero(const Tensor&) override {}
  const char* name() const override { return "null"; }
  bool measuring() const override { return true; }

 private:
#define X(Op) \
  void launch(const op::Op&) override {}
  HEED_OPS(X)
#undef X
};

}  // namespace heed
