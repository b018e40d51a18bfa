// The kernels behind a C interface, so that Python can time them beside PyTorch's in one process, on its arrays and
// streams. Every function returns null, or what went wrong.
#include <string>

#include "native/cuda/backend.h"
#include "native/cuda/gemm.h"

using namespace heed;

#define HEED_C extern "C" __attribute__((visibility("default")))

template <class F>
static const char* guarded(F f) noexcept {
  static std::string why;
  try {
    f();
    return nullptr;
  } catch (const std::exception& error) {
    why = error.what();
    return why.c_str();
  }
}

HEED_C const char* heed_open(void** backend, void** stream) noexcept {
  return guarded([&] {
    auto* cuda = new cuda::CudaBackend();
    *backend = static_cast<Backend*>(cuda);
    *stream = cuda->stream();
  });
}

// kernel: 0 as picked, 1 mma, 2 wgmma, with the tile of that number.
HEED_C const char* heed_product(const cuda::Product* p, int kernel, int tile, void* stream) noexcept {
  return guarded([&] {
    auto* s = static_cast<cudaStream_t>(stream);
    if (kernel == 0) cuda::multiply(*p, s);
    if (kernel == 1) cuda::multiply_mma(*p, cuda::MmaTile(tile), s);
    if (kernel == 2) cuda::multiply_wgmma(*p, cuda::WgmmaTile(tile), s);
  });
}

// heed_run_Gelu(backend, &op), and the size of its struct, against which callers check theirs.
#define X(Op)                                                                          \
  HEED_C const char* heed_run_##Op(Backend* backend, const op::Op* op) noexcept {      \
    return guarded([&] { backend->run(*op); });                                        \
  }                                                                                    \
  HEED_C size_t heed_size_##Op() noexcept { return sizeof(op::Op); }
HEED_OPS(X)
#undef X
