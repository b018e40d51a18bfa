#include "native/engine.h"

#include <cstdio>

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

std::unique_ptr<Backend> backend_for(const EngineOptions& o, std::string& fallback) {
  std::unique_ptr<Backend> backend = make_backend(
      {.device = o.device, .threads = o.threads, .level = o.level, .cuda_module = o.cuda_module}, fallback);
  if (o.plan) return std::make_unique<PlanBackend>(std::move(backend));
  return backend;
}

}  // namespace

Engine::Engine(const EngineOptions& options)
    : backend_(backend_for(options, fallback_)),
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
          .multiply_adds = multiply_adds_,
          .parameter_bytes = bytes(*parameters_),
          .optimizer_bytes = bytes(*optimizer_),
          .cache_bytes = bytes(*cache_),
          .arena_bytes = arena_bytes_ + held.scratch_bytes,
          .packed_bytes = held.packed_bytes};
}

namespace {

std::string shown(int64_t bytes) {
  const bool small = bytes < 1'000'000'000;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", double(bytes) / (small ? 1e6 : 1e9), small ? "MB" : "GB");
  return text;
}

}  // namespace

template <class Work>
auto Engine::with_memory(int64_t bytes, const char* what, const char* advice, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.code != ErrorCode::OutOfMemory) throw;
    const DeviceMemory memory = backend_->memory();
    const Usage u = usage();
    const std::string have = memory.total_bytes == 0 ? error.what()
                                                     : "only " + shown(memory.free_bytes) + " of the device's " +
                                                           shown(memory.total_bytes) + " are free";
    throw Error(ErrorCode::OutOfMemory, std::string("the ") + what + " would take " + shown(bytes) + ", but " + have +
                                            "; this engine holds weights " + shown(u.parameter_bytes + u.packed_bytes) +
                                            ", optimizer " + shown(u.optimizer_bytes) + ", activations " +
                                            shown(u.arena_bytes) + ", cache " + shown(u.cache_bytes) + ": " + advice);
  }
}

Buffer Engine::allocate(int64_t bytes, Purpose purpose) {
  switch (purpose) {
    case Purpose::kParameters:
      return with_memory(bytes, "weights", "use a smaller model, or dtype bf16",
                         [&] { return Buffer(*parameters_, bytes); });
    case Purpose::kOptimizer:
      return with_memory(bytes, "optimizer's state", "use a smaller model", [&] { return Buffer(*optimizer_, bytes); });
    case Purpose::kCache:
      break;
  }
  return with_memory(bytes, "cache of keys and values", "lower slots or maxNewTokens",
                     [&] { return Buffer(*cache_, bytes); });
}

void Engine::reserve(int64_t bytes) {
  if (bytes <= arena_.bytes()) return;
  arena_ = Buffer();  // freed first: both at once may not fit
  arena_bytes_ = 0;
  with_memory(bytes, "activations of a pass", "lower maxTokens, or turn gradientCheckpointing on", [&] {
    arena_ = Buffer(*backend_, bytes);
    arena_bytes_ = bytes;
  });
}

}  // namespace heed
