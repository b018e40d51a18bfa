// The loops are assembly, because a compiler that spills or reorders measures something else.
#include "native/cpu/peak.h"

#include <algorithm>
#include <chrono>

#include "native/cpu/pool.h"

namespace heed::cpu {
namespace {

// Independent multiply-adds on registers, enough to hide their latency. They return the operations of one iteration.
#if defined(__x86_64__)
#define HEED_12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define HEED_CLOBBERED                                                                                              \
  "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
      "xmm14", "xmm15"
// The factors are zeros: what the registers held may be denormal, which some processors multiply slowly.
#define HEED_COUNTED_LOOP(ZERO, BODY) \
  asm volatile(ZERO "1:\n" HEED_12(BODY) "dec %0\njnz 1b\n" : "+r"(iterations) : : HEED_CLOBBERED)
#define HEED_ZERO_512 "vpxord %%zmm30, %%zmm30, %%zmm30\nvpxord %%zmm31, %%zmm31, %%zmm31\n"

double multiply_add_avx512_bf16(int64_t iterations) {  // pairs of products
#define HEED_BODY(i) "vdpbf16ps %%zmm31, %%zmm30, %%zmm" #i "\n"
  HEED_COUNTED_LOOP(HEED_ZERO_512, HEED_BODY);
#undef HEED_BODY
  asm volatile("vzeroupper");
  return 12 * 16 * 4;
}
double multiply_add_avx512(int64_t iterations) {
#define HEED_BODY(i) "vfmadd231ps %%zmm31, %%zmm30, %%zmm" #i "\n"
  HEED_COUNTED_LOOP(HEED_ZERO_512, HEED_BODY);
#undef HEED_BODY
  asm volatile("vzeroupper");
  return 12 * 16 * 2;
}
double multiply_add_avx2(int64_t iterations) {
#define HEED_BODY(i) "vfmadd231ps %%ymm15, %%ymm14, %%ymm" #i "\n"
  HEED_COUNTED_LOOP("vxorps %%ymm14, %%ymm14, %%ymm14\nvxorps %%ymm15, %%ymm15, %%ymm15\n", HEED_BODY);
#undef HEED_BODY
  asm volatile("vzeroupper");
  return 12 * 8 * 2;
}
double multiply_add_portable(int64_t iterations) {  // products and sums in turn
#define HEED_BODY(i) "mulps %%xmm15, %%xmm" #i "\naddps %%xmm14, %%xmm" #i "\n"
  HEED_COUNTED_LOOP("xorps %%xmm14, %%xmm14\nxorps %%xmm15, %%xmm15\n", HEED_BODY);
#undef HEED_BODY
  return 12 * 4 * 2;
}
#undef HEED_ZERO_512
#undef HEED_COUNTED_LOOP
#undef HEED_CLOBBERED
#undef HEED_12
#else
// By the compiler's vectors: four chains of 128 bits and more than one port hide some of the latency.
typedef float Four __attribute__((vector_size(16)));
double multiply_add_portable(int64_t iterations) {
  Four sums[12] = {}, a = {1, 1, 1, 1}, b = {1, 1, 1, 1};
  for (int64_t i = 0; i < iterations; ++i) {
    for (Four& sum : sums) sum += a * b;
    asm volatile("" : "+w"(a), "+w"(b));
  }
  asm volatile("" : : "m"(sums));
  return 12 * 4 * 2;
}
#endif

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double best_of(double (*kernel)(int64_t), int threads, int rounds) {
  constexpr int64_t kIterations = 5000;  // some ten microseconds a task, spread by the pool
  const int64_t tasks = 6 * int64_t{threads};
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    const double start = now();
    double flops = 0;
    parallel_for(threads, tasks, [&](int64_t i) {
      const double done = kernel(kIterations);
      if (i == 0) flops = done;
    });
    best = std::max(best, flops * double(kIterations * tasks) / (now() - start));
  }
  return best;
}

}  // namespace

// bf16 may always be widened: some processors have its instruction at a quarter of the rate of f32's.
double peak_flops(const std::string& level, DType dtype, int threads, int rounds) {
#if defined(__x86_64__)
  const bool is_avx512_bf16 = level == "avx512_bf16";
  if (is_avx512_bf16 || level == "avx512") {
    const double peak = best_of(multiply_add_avx512, threads, rounds);
    const bool has_pairs = is_avx512_bf16 && dtype == DType::bf16;
    return has_pairs ? std::max(peak, best_of(multiply_add_avx512_bf16, threads, rounds)) : peak;
  }
  if (level == "avx2") return best_of(multiply_add_avx2, threads, rounds);
#endif
  (void)level, (void)dtype;
  return best_of(multiply_add_portable, threads, rounds);
}

}  // namespace heed::cpu
