// What the GPU has and can do at most, by its properties.
#include "native/cuda/backend.h"
#include "native/cuda/launch.h"

namespace heed::cuda {
namespace {

// FLOP per clock cycle and multiprocessor, from NVIDIA's descriptions of the architectures: dense bf16 products on
// tensor cores with sums in f32, and f32 multiply-adds, which use no tensor cores. GeForce cards of 8.6 and 8.9 do half
// as many bf16 products. An unknown newer capability counts as the last of the list.
struct Rate {
  int major, minor;
  double bf16, f32;
};
constexpr Rate kRates[] = {
    {8, 0, 2048, 128},  // A100
    {8, 6, 1024, 256},  // A10, A40
    {8, 7, 1024, 256},  // Orin
    {8, 9, 1024, 256},  // L4, L40
    {9, 0, 4096, 256},  // H100, H200
};

Rate rate_of(int major, int minor) {
  Rate found = kRates[0];
  for (const Rate& rate : kRates)
    if (major > rate.major || (major == rate.major && minor >= rate.minor)) found = rate;
  return found;
}

}  // namespace

void require_device() {
  const auto version = [](int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  int count = 0, driver = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    cudaDriverGetVersion(&driver);
    throw Error(ErrorCode::Device, driver == 0 ? "this machine has no NVIDIA driver (libcuda.so.1)"
                                               : "the NVIDIA driver is of CUDA " + version(driver) +
                                                     ", expected one of CUDA " + version(CUDART_VERSION) + " or newer");
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    throw Error(ErrorCode::Device, "the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES may hide it)");
  check(status, "device");
}

DeviceMemory CudaBackend::memory() const {
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return {};
  return {int64_t(free), int64_t(total)};
}

// At the highest clock that the device reports; a GPU at its power limit runs slower.
double CudaBackend::peak_flops(DType dtype) const {
  int major = 0, minor = 0, multiprocessors = 0, kilohertz = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0);
  cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, 0);
  const Rate rate = rate_of(major, minor);
  return 1e3 * double(kilohertz) * double(multiprocessors) * (dtype == DType::bf16 ? rate.bf16 : rate.f32);
}

}  // namespace heed::cuda
