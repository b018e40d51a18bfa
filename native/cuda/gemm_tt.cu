// aᵀ·bᵀ by mma.
#include "native/cuda/gemm_mma.h"

namespace heed::cuda {
template void multiply_mma<true, true>(const Product&, MmaTile, cudaStream_t);
}
