// Registration of the addon. addon.d.ts describes what JavaScript sees.
#include <napi.h>

#include "bindings/engine.h"
#include "bindings/files.h"
#include "bindings/generator.h"
#include "bindings/model.h"
#include "bindings/trainer.h"

namespace heed::bindings {

// No static state: every environment (the main thread, each worker) has its own.
class Addon final : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) {
    exports.Set("Engine", Engine::define(env));
    exports.Set("Model", Model::define(env));
    exports.Set("computeTogether", Napi::Function::New(env, Model::compute_together, "computeTogether"));
    exports.Set("Trainer", Trainer::define(env));
    exports.Set("stepTogether", Napi::Function::New(env, Trainer::step_together, "stepTogether"));
    exports.Set("Generator", Generator::define(env));
    exports.Set("parameters", Napi::Function::New(env, parameters, "parameters"));
    exports.Set("exchangePaths", Napi::Function::New(env, exchange_paths, "exchangePaths"));
  }
};

}  // namespace heed::bindings

using heed::bindings::Addon;
NODE_API_ADDON(Addon)
