// Philox4x32-10 (Salmon et al. 2011): a random number is a function of its key and counter alone, so it does not
// depend on threads, batches or ranks, and is the same on every backend.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define HEED_HD __host__ __device__ static inline
#else
#define HEED_HD static inline  // internal linkage: each instruction-set level keeps its own copy
#endif

namespace heed::rng {

struct Bits {
  uint32_t x[4];
};

HEED_HD Bits philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  uint32_t c0 = uint32_t(counter_low), c1 = uint32_t(counter_low >> 32);
  uint32_t c2 = uint32_t(counter_high), c3 = uint32_t(counter_high >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    const uint32_t n0 = uint32_t(p1 >> 32) ^ c1 ^ k0, n2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c1 = uint32_t(p1);
    c3 = uint32_t(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in [0, 1): 24 bits.
HEED_HD float uniform(uint32_t bits) {
  return float(bits >> 8) * 0x1p-24f;
}

}  // namespace heed::rng
