// aᵀ·b on Hopper.
#include "native/cuda/gemm_sm90.h"

namespace heed::cuda {
template void multiply_wgmma<true, false>(const Product&, WgmmaTile, cudaStream_t);
}
