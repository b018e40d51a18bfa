// One device, one arena, one queue of work. Everything created from an engine is used by one thread at a time.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "native/core/arena.h"
#include "native/ops/backend.h"

namespace heed {

struct EngineOptions {
  std::string device = "cpu";  // or "cuda", or "auto": the GPU if there is one
  DType dtype = DType::f32;    // of parameters and activations: f32 or bf16
  int threads = 0;             // 0: all CPUs that the process may use
  std::string level;           // "": the best instruction-set level
  std::string cuda_module;     // see BackendOptions
  int64_t max_tokens = 4096;   // tokens of one pass
  bool plan = false;  // allocates and computes nothing: usage() is the memory that would be needed (PlanBackend)
};

struct Usage {
  int64_t tokens_computed = 0;  // tokens of all forward passes
  int64_t multiply_adds = 0;    // that the work needed (native/model/work.h)
  int64_t parameter_bytes = 0, optimizer_bytes = 0, cache_bytes = 0, arena_bytes = 0,
          packed_bytes = 0;  // arena: with scratch
};

class Engine {
 public:
  explicit Engine(const EngineOptions& options);
  ~Engine();

  Backend& backend() { return *backend_; }
  const std::string& fallback() const { return fallback_; }  // why device auto is the CPU, or ""
  int64_t max_tokens() const { return max_tokens_; }
  DType dtype() const { return dtype_; }
  Usage usage() const;
  void count_tokens(int64_t tokens) { tokens_computed_ += tokens; }
  void count_multiply_adds(int64_t multiply_adds) { multiply_adds_ += multiply_adds; }

  // Runs pass(backend, arena) first on a backend that only checks, with an arena that only measures; then allocates the
  // arena and the other memory that the ops need; then runs the pass. A pass that does not fit throws ERR_OUT_OF_MEMORY
  // before it has changed anything.
  template <class Pass>
  void run(Pass&& pass) {
    reserve(measure(pass));
    Arena arena(arena_.data(), arena_.bytes());
    pass(*backend_, arena);
  }

  // Buffers are counted by purpose.
  enum class Purpose { kParameters, kOptimizer, kCache };
  Buffer allocate(int64_t bytes, Purpose purpose);

 private:
  template <class Pass>
  int64_t measure(Pass&& pass) {
    Arena arena;
    pass(*null_, arena);
    return arena.peak();
  }
  void reserve(int64_t bytes);
  // work() allocates `bytes` for `what`; if there is no memory, the error says how much there is and what to lower.
  template <class Work>
  auto with_memory(int64_t bytes, const char* what, const char* advice, Work work);

  // A Buffer's memory, whose release is reported to the engine.
  class Counted;
  std::string fallback_;
  std::unique_ptr<Backend> backend_, null_;
  std::unique_ptr<Counted> parameters_, optimizer_, cache_;
  Buffer arena_;
  DType dtype_;
  int64_t max_tokens_;
  bool plan_;
  std::atomic<int64_t> tokens_computed_{0}, multiply_adds_{0};
  std::atomic<int64_t> arena_bytes_{0};
};

}  // namespace heed
