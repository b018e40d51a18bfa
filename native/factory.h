// Creates a backend by the name of its device; the only place that knows all backends.
#pragma once

#include <memory>
#include <string>

#include "native/ops/backend.h"

namespace heed {

// device: "cpu", "cuda", or "auto": the GPU if there is one, else the CPU. threads and level are the CPU's (see
// cpu::CpuBackend). Throws Error(InvalidArgument) for an unknown device, Error(Device) for one that is not available.
std::unique_ptr<Backend> make_backend(const std::string& device, int threads, const std::string& level);

}  // namespace heed
