// What this machine can do at most, as the bounds that results are measured against: multiply-adds and bytes per second
// with the instructions of a level. The loops are assembly, because a compiler that spills or reorders measures
// something else.
#pragma once

#include "benchmarks/native/bench.h"
#include "native/cpu/peak.h"
#include "native/cpu/pool.h"

namespace bench {

#define HEED_CLOBBERED \
  "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"

#if defined(__x86_64__)
// Loads of `count` blocks of 512 bytes.
#define HEED_LOADS(LOAD, REGISTER, BYTES)                                                                        \
  asm volatile("1:\n" LOAD " 0*" BYTES "(%0), %%" REGISTER "0\n" LOAD " 1*" BYTES "(%0), %%" REGISTER "1\n" LOAD \
               " 2*" BYTES "(%0), %%" REGISTER "2\n" LOAD " 3*" BYTES "(%0), %%" REGISTER "3\n" LOAD " 4*" BYTES \
               "(%0), %%" REGISTER "4\n" LOAD " 5*" BYTES "(%0), %%" REGISTER "5\n" LOAD " 6*" BYTES             \
               "(%0), %%" REGISTER "6\n" LOAD " 7*" BYTES "(%0), %%" REGISTER                                    \
               "7\n"                                                                                             \
               "add $8*" BYTES ", %0\ndec %1\njnz 1b\n"                                                          \
               : "+r"(data), "+r"(count)                                                                         \
               :                                                                                                 \
               : HEED_CLOBBERED)
inline void load_avx512(const char* data, int64_t count) {
  HEED_LOADS("vmovaps", "zmm", "64");
  asm volatile("vzeroupper");
}
inline void load_avx2(const char* data, int64_t count) {
  count *= 2;
  HEED_LOADS("vmovaps", "ymm", "32");
  asm volatile("vzeroupper");
}
inline void load_portable(const char* data, int64_t count) {
  count *= 4;
  HEED_LOADS("movaps", "xmm", "16");
}
#undef HEED_LOADS
#else
typedef float Four __attribute__((vector_size(16)));
inline void load_portable(const char* data, int64_t count) {
  Four sums[8] = {};
  const Four* v = reinterpret_cast<const Four*>(data);
  for (int64_t i = 0; i < count * 32; i += 8)
    for (int j = 0; j < 8; ++j) sums[j] += v[i + j];
  asm volatile("" : : "m"(sums));
}
#endif
#undef HEED_CLOBBERED

// The most GFLOP/s at a level, a multiply-add being two operations.
inline double peak_gflops(const std::string& level, heed::DType dtype, int threads) {
  return heed::cpu::peak_flops(level, dtype, threads, 1000) / 1e9;
}

// The most GB/s at which `threads` threads read so many bytes again and again: from whichever cache holds them, or from
// memory. Each thread has a part of its own.
inline double read_gb_per_s(const std::string& level, int64_t bytes, int threads) {
  void (*kernel)(const char*, int64_t) = load_portable;
#if defined(__x86_64__)
  if (level == "avx512" || level == "avx512_bf16")
    kernel = load_avx512;
  else if (level == "avx2")
    kernel = load_avx2;
#endif
  (void)level;
  constexpr int64_t kMost = int64_t{1} << 29, kBlock = 512;
  const int64_t blocks = std::max<int64_t>(1, std::min(bytes, kMost) / threads / kBlock), part = blocks * kBlock;
  heed::cpu::CpuBackend backend(threads);
  const heed::Buffer memory(backend, part * threads);
  char* const data = static_cast<char*>(memory.data());
  heed::cpu::parallel_for(threads, threads, [&](int64_t t) { std::fill_n(data + t * part, part, char(1)); });
  const int64_t passes = std::max<int64_t>(1, (int64_t{1} << 26) / part);  // 64 MB a thread: some milliseconds
  double best = 0;
  for (int round = 0; round < (part > (int64_t{1} << 26) ? 6 : 20); ++round) {
    const double start = now();
    heed::cpu::parallel_for(threads, threads, [&](int64_t t) {
      for (int64_t pass = 0; pass < passes; ++pass) kernel(data + t * part, blocks);
    });
    best = std::max(best, double(part * threads * passes) / (now() - start) / 1e9);
  }
  return best;
}

}  // namespace bench
