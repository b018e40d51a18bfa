// The CPU backend: memory, and the kernels of the best instruction-set level this machine has.
#pragma once

#include <memory>
#include <string>

#include "native/cpu/kernels.h"

namespace heed::cpu {

class CpuBackend final : public Backend {
 public:
  // threads: 0 takes what the process may use. level: "" the best; "avx512", "avx2" or "portable" by name (also
  // HEED_CPU in the environment); throws Error(InvalidArgument) for one that is unknown or that this machine lacks.
  explicit CpuBackend(int threads = 0, const std::string& level = "");
  ~CpuBackend() override;

  void* allocate(int64_t bytes) override;
  void release(void* data) noexcept override;
  void upload(const Tensor& dst, const void* host) override;
  void download(void* host, const Tensor& src) override;
  void copy(const Tensor& dst, const Tensor& src) override;
  void zero(const Tensor& dst) override;
  const char* name() const override;  // "cpu avx512"

  int threads() const;
  int64_t packed_bytes() const;

 private:
#define X(Op) void launch(const op::Op&) override;
  HEED_OPS(X)
#undef X
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heed::cpu
