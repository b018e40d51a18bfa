#include "native/factory.h"

#include <cstdlib>

#include "native/cpu/backend.h"
#include "native/module_backend.h"
#include "native/platform/platform.h"

namespace heed {
namespace {

// The file this code is in: the addon, or a test.
void here() {}

#ifdef _WIN32
constexpr const char* kModule = "heed_cuda.dll";
#else
constexpr const char* kModule = "heed_cuda.so";
#endif

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::Device, why);
}

// HEED_CUDA in the environment, else the module beside the addon, else the one of the package.
std::string module_path(const std::string& of_package) {
  const char* named = std::getenv("HEED_CUDA");
  if (named != nullptr && *named != 0) {
    if (!platform::can_read(named)) refuse(std::string("HEED_CUDA is ") + named + ", which cannot be read");
    return named;
  }
  const std::string beside = platform::folder_of(reinterpret_cast<const void*>(&here)) + kModule;
  if (platform::can_read(beside)) return beside;
  if (!of_package.empty()) return of_package;
  refuse(
      "there is no CUDA module: neither " + beside +
      " nor the package @heed/cuda-linux-x64 is there; `npm install @heed/cuda-linux-x64` or `npx heed build --cuda` "
      "adds it");
}

// Both sides must have been compiled from the same sources.
void require_same_version(const std::string& path, ModuleVersion version, ModuleDoor door) {
  const std::string theirs = version == nullptr ? "another version" : std::string("version ") + version();
  if (version == nullptr || theirs != "version " HEED_VERSION)
    refuse(path + " is of " + theirs + " of heed, expected " HEED_VERSION ", that of the addon");
  if (door == nullptr || door() != kDoor)
    refuse(path + " is of version " HEED_VERSION " of heed, as the addon is, but of other sources: build both anew");
}

// Never closed: the CUDA run-time has threads and exit handlers of its own.
std::unique_ptr<Backend> open_cuda(const std::string& of_package) {
  const std::string path = module_path(of_package);
  std::string why;
  void* module = platform::open_library(path, why);
  if (module == nullptr) refuse("the CUDA module does not load: " + why);
  require_same_version(path, reinterpret_cast<ModuleVersion>(platform::find_symbol(module, "heed_cuda_version")),
                       reinterpret_cast<ModuleDoor>(platform::find_symbol(module, "heed_cuda_door")));
  const auto open = reinterpret_cast<ModuleOpen>(platform::find_symbol(module, "heed_cuda_open"));
  if (open == nullptr) refuse(path + " lacks heed_cuda_open");
  Failure failure;
  Module* backend = open(failure);
  if (backend == nullptr) refuse(failure.message);
  return std::make_unique<ModuleBackend>(backend);
}

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendOptions& o, std::string& fallback) {
  require(o.device == "cpu" || o.device == "cuda" || o.device == "auto", "device is \"", o.device,
          "\", expected cpu, cuda or auto");
  if (o.device != "cpu") {
    try {
      return open_cuda(o.cuda_module);
    } catch (const Error& error) {
      if (o.device == "cuda") throw Error(error.code, std::string("device is cuda, but ") + error.what());
      fallback = error.what();
    }
  }
  return std::make_unique<cpu::CpuBackend>(o.threads, o.level);
}

}  // namespace heed
