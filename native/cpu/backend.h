// The CPU backend: memory, and the kernels of the best instruction-set level this machine has.
#pragma once

#include <memory>
#include <string>

#include "native/cpu/kernels.h"

namespace heed::cpu {

class CpuBackend final : public Backend {
 public:
  // threads: 0 for all CPUs that the process may use. level: "" for the best, or "avx512_bf16", "avx512", "avx2",
  // "portable" (also HEED_CPU in the environment); throws Error(InvalidArgument) for a level that is unknown or that
  // this machine lacks.
  explicit CpuBackend(int threads = 0, const std::string& level = "");
  ~CpuBackend() override;

  void* allocate(int64_t bytes) override;
  void release(void* data, int64_t bytes) noexcept override;
  void upload(const Tensor& dst, const void* host) override;
  void download(void* host, const Tensor& src) override;
  void copy(const Tensor& dst, const Tensor& src) override;
  void zero(const Tensor& dst) override;
  const char* name() const override;  // "cpu avx512"
  int threads() const override;
  Held held() const override;
  CacheShape cache_shape(DType dtype, int64_t slots, int64_t length, int64_t num_kv_heads,
                         int64_t head_dim) const override;
  int64_t logits_rows(int64_t padded_vocab) const override;
  DType logits_dtype(DType dtype) const override;
  double peak_flops(DType dtype) const override;

 private:
#define X(Op)                          \
  void launch(const op::Op&) override; \
  void prepare(const op::Op&) override;
  HEED_OPS(X)
#undef X
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heed::cpu
