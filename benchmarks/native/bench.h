// Timing for the native benchmarks, and the limits of this machine that their results are measured against.
//
// Every benchmark prints one JSON object per line. Results are checked before they are timed, and data are random:
// zeros may run faster than real numbers.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "native/core/error.h"
#include "native/cpu/backend.h"
#include "native/cpu/pool.h"

namespace bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Seconds of one call. On a shared machine the median moves with what else is running; the best is what compares with a
// peak that was measured the same way.
struct Seconds {
  double median, best;
};

// Of f() over `rounds` rounds of about `seconds` each, after a warm-up of the same length: a worker that slept needs
// some milliseconds to find its own CPU.
template <class F>
Seconds seconds_per_call(F f, int rounds = 9, double seconds = 0.03) {
  int64_t calls = 0;
  for (const double start = now(); calls == 0 || now() - start < seconds; ++calls) f();
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) {
    const double start = now();
    for (int64_t i = 0; i < calls; ++i) f();
    times.push_back((now() - start) / double(calls));
  }
  return {median(times), *std::min_element(times.begin(), times.end())};
}

inline std::vector<float> random_normal(int64_t count, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(rng);
  return values;
}

// Fused multiply-adds (in SSE2 a product and a sum) on registers only, in enough chains to hide their latency. By
// assembly, because a compiler that spills measures its own stack. Returns the floating-point operations done.
inline double multiply_add_avx512(int64_t iterations) {
#if defined(__x86_64__)
  asm volatile("1:\n"
#define HEED_FMA(i) "vfmadd231ps %%zmm31, %%zmm30, %%zmm" #i "\n"
               HEED_FMA(0) HEED_FMA(1) HEED_FMA(2) HEED_FMA(3) HEED_FMA(4) HEED_FMA(5) HEED_FMA(6) HEED_FMA(7)
                   HEED_FMA(8) HEED_FMA(9) HEED_FMA(10) HEED_FMA(11) HEED_FMA(12) HEED_FMA(13) HEED_FMA(14) HEED_FMA(15)
#undef HEED_FMA
                       "dec %0\n"
                       "jnz 1b\n"
                       "vzeroupper\n"
               : "+r"(iterations)
               :
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                 "xmm12", "xmm13", "xmm14", "xmm15");
  return 16 * 16 * 2;
#else
  return double(iterations) * 0;
#endif
}

inline double multiply_add_avx2(int64_t iterations) {
#if defined(__x86_64__)
  asm volatile("1:\n"
#define HEED_FMA(i) "vfmadd231ps %%ymm15, %%ymm14, %%ymm" #i "\n"
               HEED_FMA(0) HEED_FMA(1) HEED_FMA(2) HEED_FMA(3) HEED_FMA(4) HEED_FMA(5) HEED_FMA(6) HEED_FMA(7)
                   HEED_FMA(8) HEED_FMA(9) HEED_FMA(10) HEED_FMA(11)
#undef HEED_FMA
                       "dec %0\n"
                       "jnz 1b\n"
                       "vzeroupper\n"
               : "+r"(iterations)
               :
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                 "xmm11");
  return 12 * 8 * 2;
#else
  return double(iterations) * 0;
#endif
}

inline double multiply_add_portable(int64_t iterations) {
#if defined(__x86_64__)
  asm volatile("1:\n"
#define HEED_MUL_ADD(i, j) "mulps %%xmm15, %%xmm" #i "\naddps %%xmm14, %%xmm" #j "\n"
               HEED_MUL_ADD(0, 1) HEED_MUL_ADD(2, 3) HEED_MUL_ADD(4, 5) HEED_MUL_ADD(6, 7) HEED_MUL_ADD(8, 9)
                   HEED_MUL_ADD(10, 11)
#undef HEED_MUL_ADD
                       "dec %0\n"
                       "jnz 1b\n"
               : "+r"(iterations)
               :
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                 "xmm11");
  return 12 * 4;
#else
  return double(iterations) * 0;
#endif
}

// The most GFLOP/s that `threads` threads reach at a level; 0 where this is not known.
inline double peak_gflops(const std::string& level, int threads) {
  double (*const kernel)(int64_t) = level == "avx512" ? multiply_add_avx512
                                    : level == "avx2" ? multiply_add_avx2
                                                      : multiply_add_portable;
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

// Memory bandwidth in GB/s over arrays much larger than the caches.
struct Bandwidth {
  double read;   // one array summed
  double triad;  // a = b + s·c with ordinary stores, 12 bytes counted per element
};
inline Bandwidth bandwidth(int threads) {
  constexpr int64_t kFloats = int64_t{1} << 26, kBlock = int64_t{1} << 16;
  heed::cpu::CpuBackend backend(threads);
  const heed::Buffer memory(backend, 3 * kFloats * int64_t(sizeof(float)));
  float* const a = static_cast<float*>(memory.data());
  float *const b = a + kFloats, *const c = b + kFloats;
  heed::cpu::parallel_for(threads, kFloats / kBlock, [&](int64_t block) {
    for (int64_t i = block * kBlock; i < (block + 1) * kBlock; ++i) {
      a[i] = 0;
      b[i] = 1;
      c[i] = 2;
    }
  });
  std::vector<double> reads, triads;
  typedef float vec __attribute__((vector_size(64), aligned(64)));
  for (int round = 0; round < 7; ++round) {
    double start = now();
    heed::cpu::parallel_for(threads, kFloats / kBlock, [&](int64_t block) {
      const vec* v = reinterpret_cast<const vec*>(a + block * kBlock);
      vec sum[4] = {};
      for (int64_t i = 0; i < kBlock / 16; i += 4)
        for (int j = 0; j < 4; ++j) sum[j] += v[i + j];
      asm volatile("" : : "m"(sum));
    });
    reads.push_back(4 * double(kFloats) / (now() - start) / 1e9);
    start = now();
    heed::cpu::parallel_for(threads, kFloats / kBlock, [&](int64_t block) {
      for (int64_t i = block * kBlock; i < (block + 1) * kBlock; ++i) a[i] = b[i] + 3.0f * c[i];
      asm volatile("" : : : "memory");
    });
    triads.push_back(12 * double(kFloats) / (now() - start) / 1e9);
  }
  return {median(reads), median(triads)};
}

}  // namespace bench
