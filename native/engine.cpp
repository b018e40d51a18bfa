#include "native/engine.h"

#include <unordered_map>

#include "native/cpu/backend.h"
#include "native/ops/null_backend.h"

namespace heed {

class Engine::Counted final : public Memory {
 public:
  explicit Counted(Backend& backend) : backend_(backend) {}
  void* allocate(int64_t bytes) override {
    void* data = backend_.allocate(bytes);
    sizes_[data] = bytes;
    total_ += bytes;
    return data;
  }
  void release(void* data) noexcept override {
    total_ -= sizes_[data];
    sizes_.erase(data);
    backend_.release(data);
  }
  int64_t total() const { return total_; }

 private:
  Backend& backend_;
  std::unordered_map<void*, int64_t> sizes_;
  std::atomic<int64_t> total_{0};  // read from other threads
};

Engine::Engine(const EngineOptions& options)
    : backend_(std::make_unique<cpu::CpuBackend>(options.threads, options.level)),
      null_(std::make_unique<NullBackend>()),
      parameters_(std::make_unique<Counted>(*backend_)),
      optimizer_(std::make_unique<Counted>(*backend_)),
      cache_(std::make_unique<Counted>(*backend_)),
      max_tokens_(options.max_tokens) {
  require(max_tokens_ > 0 && max_tokens_ <= 1 << 24, "maxTokens is ", max_tokens_, ", expected 1 to 16777216");
}

Engine::~Engine() = default;

int Engine::threads() const {
  return static_cast<cpu::CpuBackend&>(*backend_).threads();
}

Usage Engine::usage() const {
  return {.tokens_computed = tokens_computed_,
          .parameter_bytes = parameters_->total(),
          .optimizer_bytes = optimizer_->total(),
          .cache_bytes = cache_->total(),
          .arena_bytes = arena_bytes_,
          .packed_bytes = static_cast<const cpu::CpuBackend&>(*backend_).packed_bytes()};
}

Buffer Engine::allocate(int64_t bytes, Purpose purpose) {
  Counted& memory = purpose == Purpose::kParameters  ? *parameters_
                    : purpose == Purpose::kOptimizer ? *optimizer_
                                                     : *cache_;
  return Buffer(memory, bytes);
}

void Engine::reserve(int64_t bytes) {
  if (bytes <= arena_.bytes()) return;
  arena_ = Buffer();  // the old one first: both at once may not fit
  arena_bytes_ = 0;
  arena_ = Buffer(*backend_, bytes);
  arena_bytes_ = bytes;
}

}  // namespace heed
