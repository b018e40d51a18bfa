// a·bᵀ on Hopper.
#include "native/cuda/gemm_sm90.h"

namespace heed::cuda {
template void multiply_wgmma<false, true>(const Product&, WgmmaTile, cudaStream_t);
}
