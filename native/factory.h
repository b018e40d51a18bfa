// Creates a backend by the name of its device; the only place that knows all backends.
#pragma once

#include <memory>
#include <string>

#include "native/ops/backend.h"

namespace heed {

struct BackendOptions {
  std::string device;  // "cpu", "cuda", or "auto": the GPU if there is one, else the CPU
  int threads = 0;     // of the CPU: see cpu::CpuBackend
  std::string level;   // likewise
  std::string
      cuda_module;  // a file that is opened if neither HEED_CUDA names one nor the addon's folder has one, or ""
};

// fallback: why "auto" is the CPU, else unchanged. Throws Error(InvalidArgument) for an unknown device, Error(Device)
// for one that is not available.
std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::string& fallback);

}  // namespace heed
