// One device, one arena, one order of work. Everything made from an engine is used by one thread at a time.
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
  int threads = 0;             // 0: what the process may use
  std::string level;           // "": the best instruction-set level
  int64_t max_tokens = 4096;   // tokens of one pass
  bool plan = false;  // takes no memory and computes nothing: usage() is the most that would be held (PlanBackend)
};

struct Usage {
  int64_t tokens_computed = 0;  // tokens that went through a trunk's forward pass
  int64_t parameter_bytes = 0, optimizer_bytes = 0, cache_bytes = 0, arena_bytes = 0,
          packed_bytes = 0;  // arena: with scratch
};

class Engine {
 public:
  explicit Engine(const EngineOptions& options);
  ~Engine();

  Backend& backend() { return *backend_; }
  int64_t max_tokens() const { return max_tokens_; }
  DType dtype() const { return dtype_; }
  Usage usage() const;
  void count_tokens(int64_t tokens) { tokens_computed_ += tokens; }

  // Runs pass(backend, arena) first on a backend that only checks, with an arena that only measures, makes the real
  // arena large enough and whatever memory the ops need besides, then runs it for real. A pass that cannot fit throws
  // ERR_OUT_OF_MEMORY before it has changed anything.
  template <class Pass>
  void run(Pass&& pass) {
    reserve(measure(pass));
    Arena arena(arena_.data(), arena_.bytes());
    pass(*backend_, arena);
  }

  // Buffers are counted by what they are for.
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

  // A Buffer's memory that tells the engine when it goes.
  class Counted;
  std::unique_ptr<Backend> backend_, null_;
  std::unique_ptr<Counted> parameters_, optimizer_, cache_;
  Buffer arena_;
  DType dtype_;
  int64_t max_tokens_;
  bool plan_;
  std::atomic<int64_t> tokens_computed_{0};
  std::atomic<int64_t> arena_bytes_{0};
};

}  // namespace heed
