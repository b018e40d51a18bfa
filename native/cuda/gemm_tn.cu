// aᵀ·b by mma.
#include "native/cuda/gemm_mma.h"

namespace heed::cuda {
template void multiply_mma<true, false>(const Product&, MmaTile, cudaStream_t);
}
