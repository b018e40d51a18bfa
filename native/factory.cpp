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

// HEED_CUDA in the environment, else the module beside the addon.
std::string module_path() {
  const char* path = std::getenv("HEED_CUDA");
  if (path != nullptr && *path != 0) return path;
  return platform::folder_of(reinterpret_cast<const void*>(&here)) + kModule;
}

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::Device, "device is cuda, but " + why);
}

// Never closed: the CUDA run-time has threads and exit handlers of its own.
std::unique_ptr<Backend> open_cuda() {
  const std::string path = module_path();
  if (!platform::can_read(path)) refuse("there is no CUDA module: " + path + " is missing");
  std::string why;
  void* module = platform::open_library(path, why);
  if (module == nullptr) refuse("its module does not load: " + why);
  const auto door = reinterpret_cast<ModuleDoor>(platform::find_symbol(module, "heed_cuda_door"));
  const auto open = reinterpret_cast<ModuleOpen>(platform::find_symbol(module, "heed_cuda_open"));
  if (door == nullptr || open == nullptr || door() != kDoor) refuse(path + " is of another version of heed");
  Failure failure;
  Module* backend = open(failure);
  if (backend == nullptr) refuse(failure.message);
  return std::make_unique<ModuleBackend>(backend);
}

}  // namespace

std::unique_ptr<Backend> make_backend(const std::string& device, int threads, const std::string& level) {
  require(device == "cpu" || device == "cuda" || device == "auto", "device is \"", device,
          "\", expected cpu, cuda or auto");
  if (device == "cuda") return open_cuda();
  if (device == "auto") {
    try {
      return open_cuda();
    } catch (const Error&) {
    }
  }
  return std::make_unique<cpu::CpuBackend>(threads, level);
}

}  // namespace heed
