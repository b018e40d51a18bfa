// What this machine can do at most: multiply-adds per second at each instruction-set level, and bytes per second.
#include "benchmarks/native/bench.h"

int main() {
  const int cpus = heed::cpu::available_cpus();
  for (int threads = 1;; threads = cpus) {
    for (const char* level : {"avx512", "avx2", "portable"}) {
      try {
        const heed::cpu::CpuBackend supported(1, level);
      } catch (const heed::Error&) {
        continue;
      }
      std::printf("{\"name\":\"peak %s\",\"threads\":%d,\"gflops\":%.1f}\n", level, threads,
                  bench::peak_gflops(level, threads));
    }
    const bench::Bandwidth bandwidth = bench::bandwidth(threads);
    std::printf("{\"name\":\"read\",\"threads\":%d,\"gb_per_s\":%.1f}\n", threads, bandwidth.read);
    std::printf("{\"name\":\"triad\",\"threads\":%d,\"gb_per_s\":%.1f}\n", threads, bandwidth.triad);
    std::fflush(stdout);
    if (threads == cpus) break;
  }
}
