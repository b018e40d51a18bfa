#include "native/engine.h"

#include "native/factory.h"
#include "native/ops/null_backend.h"
#include "native/ops/plan_backend.h"

namespace heed {

class Engine::Counted final : public Memory {
 public:
  explicit Counted(Backend& backend) : backend_(backend) {}
  void* allocate(int64_t bytes) override {
    void* data = backend_.allocate(bytes);
    const int64_t total = total_ += bytes;
    for (int64_t most = most_; most < total && !most_.compare_exchange_weak(most, total);) {
    }
    return data;
  }
  void release(void* data, int64_t bytes) noexcept override {
    total_ -= bytes;
    backend_.release(data, bytes);
  }
  int64_t total() const { return total_; }
  int64_t most() const { return most_; }  // the peak

 private:
  Backend& backend_;
  std::atomic<int64_t> total_{0},
      most_{0};  // atomic: buffers may be created and destroyed on other threads than the one that computes
};

namespace {

std::unique_ptr<Backend> backend_for(const EngineOptions& o) {
  std::unique_ptr<Backend> backend = make_backend(o.device, o.threads, o.level);
  if (o.plan) return std::make_unique<PlanBackend>(std::move(backend));
  return backend;
}

}  // namespace

Engine::Engine(const EngineOptions& options)
    : backend_(backend_for(options)),
      null_(std::make_unique<NullBackend>(*backend_)),
      parameters_(std::make_unique<Counted>(*backend_)),
      optimizer_(std::make_unique<Counted>(*backend_)),
      cache_(std::make_unique<Counted>(*backend_)),
      dtype_(options.dtype),
      max_tokens_(options.max_tokens),
      plan_(options.plan) {
  require(dtype_ == DType::f32 || dtype_ == DType::bf16, "dtype must be f32 or bf16");
  require(max_tokens_ > 0 && max_tokens_ <= 1 << 24, "maxTokens is ", max_tokens_, ", expected 1 to 16777216");
}

Engine::~Engine() = default;

Usage Engine::usage() const {
  const Held held = backend_->held();
  const auto bytes = [plan = plan_](const Counted& memory) { return plan ? memory.most() : memory.total(); };
  return {.tokens_computed = tokens_computed_,
          .parameter_bytes = bytes(*parameters_),
          .optimizer_bytes = bytes(*optimizer_),
          .cache_bytes = bytes(*cache_),
          .arena_bytes = arena_bytes_ + held.scratch_bytes,
          .packed_bytes = held.packed_bytes};
}

Buffer Engine::allocate(int64_t bytes, Purpose purpose) {
  Counted& memory = purpose == Purpose::kParameters  ? *parameters_
                    : purpose == Purpose::kOptimizer ? *optimizer_
                                                     : *cache_;
  return Buffer(memory, bytes);
}

void Engine::reserve(int64_t bytes) {
  if (bytes <= arena_.bytes()) return;
  arena_ = Buffer();  // freed first: both at once may not fit
  arena_bytes_ = 0;
  arena_ = Buffer(*backend_, bytes);
  arena_bytes_ = bytes;
}

}  // namespace heed
