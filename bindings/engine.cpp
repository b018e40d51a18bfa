#include "bindings/engine.h"

#include <climits>

#include "bindings/values.h"

namespace heed::bindings {

Napi::Function Engine::define(Napi::Env env) {
  return DefineClass(env, "Engine",
                     {
                         InstanceMethod("info", &Engine::info),
                         InstanceMethod("usage", &Engine::usage),
                         InstanceMethod("peakFlops", &Engine::peak_flops),
                         InstanceMethod("dispose", &Engine::dispose),
                     });
}

Engine::Engine(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    const int64_t threads = options.field("threads").integer();
    require(threads >= 0 && threads <= INT_MAX, "threads is ", threads,
            ", expected 0 (all CPUs that the process may use) or more");
    const std::string dtype = options.field("dtype").text();
    require(dtype == "f32" || dtype == "bf16", "dtype is \"", dtype, "\", expected f32 or bf16");
    const Napi::Value plan = options.field("plan").value();
    if (!plan.IsUndefined() && !plan.IsBoolean())
      type_error(info.Env(), "options.plan is " + describe(plan) + ", expected a boolean");
    const auto engine =
        std::make_shared<heed::Engine>(EngineOptions{.device = options.field("device").text(),
                                                     .dtype = dtype == "f32" ? DType::f32 : DType::bf16,
                                                     .threads = int(threads),
                                                     .level = options.field("level").text(),
                                                     .cuda_module = options.field("cudaModule").text(),
                                                     .max_tokens = options.field("maxTokens").integer(),
                                                     .plan = plan.IsBoolean() && plan.As<Napi::Boolean>().Value()});
    thread_ = ComputeThread::create(info.Env(), engine);
    info.This().As<Napi::Object>().TypeTag(&kTag);
  });
}

Napi::Value Engine::info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    heed::Engine& engine = thread_->engine();
    auto out = Napi::Object::New(info.Env());
    out.Set("device", engine.backend().name());
    out.Set("dtype", engine.dtype() == DType::f32 ? "f32" : "bf16");
    out.Set("threads", engine.backend().threads());
    out.Set("maxTokens", double(engine.max_tokens()));
    if (!engine.fallback().empty()) out.Set("fallback", engine.fallback());
    const DeviceMemory memory = engine.backend().memory();
    if (memory.total_bytes != 0) out.Set("freeBytes", double(memory.free_bytes));
    return out;
  });
}

Napi::Value Engine::usage(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Usage usage = thread_->engine().usage();
    auto out = Napi::Object::New(info.Env());
    out.Set("tokensComputed", double(usage.tokens_computed));
    out.Set("multiplyAdds", double(usage.multiply_adds));
    out.Set("parameterBytes", double(usage.parameter_bytes));
    out.Set("optimizerBytes", double(usage.optimizer_bytes));
    out.Set("cacheBytes", double(usage.cache_bytes));
    out.Set("arenaBytes", double(usage.arena_bytes));
    out.Set("packedBytes", double(usage.packed_bytes));
    return out;
  });
}

Napi::Value Engine::peak_flops(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto peak = std::make_shared<double>(0);
    return thread_->submit(
        info.Env(), [peak, engine = &thread_->engine()] { *peak = engine->backend().peak_flops(engine->dtype()); },
        [peak](Napi::Env env) { return to_js(env, *peak); });
  });
}

Napi::Value Engine::dispose(const Napi::CallbackInfo& info) {
  return thread_->close(info.Env());
}

}  // namespace heed::bindings
