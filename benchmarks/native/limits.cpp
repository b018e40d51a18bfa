// The machine's limits beside one case, as JSON: `limits LEVEL f32|bf16 BYTES THREADS`. LEVEL is "" for the best, BYTES
// what the case works on, THREADS 0 for all.
#include "benchmarks/native/limits.h"

#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: limits LEVEL f32|bf16 BYTES THREADS\n");
    return 2;
  }
  try {
    const heed::cpu::CpuBackend backend(std::atoi(argv[4]), argv[1]);  // refuses what the machine lacks
    const std::string level = backend.name() + sizeof "cpu";
    const heed::DType dtype = argv[2] == std::string("bf16") ? heed::DType::bf16 : heed::DType::f32;
    std::printf("{\"level\":\"%s\",\"threads\":%d,\"gflops\":%.1f,\"gb_per_s\":%.1f}\n", level.c_str(),
                backend.threads(), bench::peak_gflops(level, dtype, backend.threads()),
                bench::read_gb_per_s(level, std::atoll(argv[3]), backend.threads()));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
