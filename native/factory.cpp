#include "native/factory.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

#include "native/cpu/backend.h"
#include "native/module_backend.h"

namespace heed {
namespace {

// The file this code is in: the addon, or a test.
void here() {}

// HEED_CUDA in the environment, else heed_cuda.so beside the addon.
std::string module_path() {
  const char* path = std::getenv("HEED_CUDA");
  if (path != nullptr && *path != 0) return path;
  Dl_info info;
  std::string self = dladdr(reinterpret_cast<void*>(&here), &info) != 0 ? info.dli_fname : "";
  const size_t slash = self.rfind('/');
  return (slash == std::string::npos ? std::string("./") : self.substr(0, slash + 1)) + "heed_cuda.so";
}

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::Device, "device is cuda, but " + why);
}

// Never closed: the CUDA run-time has threads and exit handlers of its own.
std::unique_ptr<Backend> open_cuda() {
  const std::string path = module_path();
  if (access(path.c_str(), R_OK) != 0) refuse("there is no CUDA module: " + path + " is missing");
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (module == nullptr) refuse(std::string("its module does not load: ") + dlerror());
  const auto door = reinterpret_cast<ModuleDoor>(dlsym(module, "heed_cuda_door"));
  const auto open = reinterpret_cast<ModuleOpen>(dlsym(module, "heed_cuda_open"));
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
