// What this machine can do at most, as the bounds that results are measured against: multiply-adds and bytes per second
// with the instructions of a level. The loops are assembly, because a compiler that spills or reorders measures
// something else.
#pragma once

#include "benchmarks/native/bench.h"
#include "native/cpu/pool.h"

namespace bench {

#define HEED_12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define HEED_CLOBBERED \
  "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"

// Independent multiply-adds on registers, enough to hide their latency. They return the operations of one iteration.
#if defined(__x86_64__)
#define HEED_COUNTED_LOOP(BODY) \
  asm volatile("1:\n" HEED_12(BODY) "dec %0\njnz 1b\n" : "+r"(iterations) : : HEED_CLOBBERED)

inline double multiply_add_avx512_bf16(int64_t iterations) {  // pairs of products
#define HEED_BODY(i) "vdpbf16ps %%zmm31, %%zmm30, %%zmm" #i "\n"
  HEED_COUNTED_LOOP(HEED_BODY);
#undef HEED_BODY
  asm volatile("vzeroupper");
  return 12 * 16 * 4;
}
inline double multiply_add_avx512(int64_t iterations) {
#define HEED_BODY(i) "vfmadd231ps %%zmm31, %%zmm30, %%zmm" #i "\n"
  HEED_COUNTED_LOOP(HEED_BODY);
#undef HEED_BODY
  asm volatile("vzeroupper");
  return 12 * 16 * 2;
}
inline double multiply_add_avx2(int64_t iterations) {
#define HEED_BODY(i) "vfmadd231ps %%ymm15, %%ymm14, %%ymm" #i "\n"
  HEED_COUNTED_LOOP(HEED_BODY);
#undef HEED_BODY
  asm volatile("vzeroupper");
  return 12 * 8 * 2;
}
inline double multiply_add_portable(int64_t iterations) {  // products and sums in turn
#define HEED_BODY(i) "mulps %%xmm15, %%xmm" #i "\naddps %%xmm14, %%xmm" #i "\n"
  HEED_COUNTED_LOOP(HEED_BODY);
#undef HEED_BODY
  return 12 * 4 * 2;
}

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
#undef HEED_COUNTED_LOOP
#else
// By the compiler's vectors: four chains of 128 bits and more than one port hide some of the latency.
typedef float Four __attribute__((vector_size(16)));
inline double multiply_add_portable(int64_t iterations) {
  Four sums[12] = {}, a = {1, 1, 1, 1}, b = {1, 1, 1, 1};
  for (int64_t i = 0; i < iterations; ++i) {
    for (Four& sum : sums) sum += a * b;
    asm volatile("" : "+w"(a), "+w"(b));
  }
  asm volatile("" : : "m"(sums));
  return 12 * 4 * 2;
}
inline void load_portable(const char* data, int64_t count) {
  Four sums[8] = {};
  const Four* v = reinterpret_cast<const Four*>(data);
  for (int64_t i = 0; i < count * 32; i += 8)
    for (int j = 0; j < 8; ++j) sums[j] += v[i + j];
  asm volatile("" : : "m"(sums));
}
#endif
#undef HEED_CLOBBERED
#undef HEED_12

// The most GFLOP/s that `threads` threads reach with one of these loops.
inline double peak_gflops(double (*kernel)(int64_t), int threads) {
  constexpr int64_t kIterations = 20000, kTasks = 48;  // some ten microseconds a task, spread by the pool
  double best = 0;
  for (int round = 0; round < 60; ++round) {
    const double start = now();
    double flops = 0;
    heed::cpu::parallel_for(threads, kTasks, [&](int64_t i) {
      const double done = kernel(kIterations);
      if (i == 0) flops = done;
    });
    best = std::max(best, flops * double(kIterations * kTasks) / (now() - start) / 1e9);
  }
  return best;
}

// The most GFLOP/s at a level, a multiply-add being two operations. bf16 may always be widened: some processors have
// its instruction at a quarter of the rate of f32's.
inline double peak_gflops(const std::string& level, heed::DType dtype, int threads) {
#if defined(__x86_64__)
  const bool is_avx512_bf16 = level == "avx512_bf16";
  if (is_avx512_bf16 || level == "avx512") {
    const double peak = peak_gflops(multiply_add_avx512, threads);
    const bool has_pairs = is_avx512_bf16 && dtype == heed::DType::bf16;
    return has_pairs ? std::max(peak, peak_gflops(multiply_add_avx512_bf16, threads)) : peak;
  }
  if (level == "avx2") return peak_gflops(multiply_add_avx2, threads);
#endif
  (void)level, (void)dtype;
  return peak_gflops(multiply_add_portable, threads);
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
