// Matrix products at the shapes of a 1M-parameter model (C = 128) and of GPT-2 (C = 768), and the kernels of decoding.
// Prints {name, m, n, k, form, level, threads, ms, best_ms, gflops, bytes, limits, percent_of_bound}: ms is the median,
// gflops and percent_of_bound are those of the best round, as the limits are. The bound is the longer of the
// multiply-adds and the bytes.
#include "benchmarks/native/limits.h"

namespace {

using namespace heed;

struct Case {
  const char* name;
  int64_t m, n, k;
  bool transpose_a, transpose_b, weight;
};

const Case kCases[] = {
    // forward, weights packed before; n x k of GPT-2's files (in, out), Llama's and the tied head transposed
    {"large projection", 1024, 768, 768, false, false, true},
    {"large mlp up", 1024, 3072, 768, false, false, true},
    {"large mlp down", 1024, 768, 3072, false, false, true},
    {"large not packed", 1024, 768, 768, false, false, false},
    {"large not packed NT", 1024, 768, 768, false, true, false},
    {"large dweight", 768, 768, 1024, true, false, false},
    {"large head", 512, 50304, 768, false, true, true},
    {"small projection", 1024, 128, 128, false, false, true},
    {"small qkv", 1024, 384, 128, false, false, true},
    {"small mlp up", 1024, 512, 128, false, false, true},
    {"small mlp down", 1024, 128, 512, false, false, true},
    {"small mlp up dx", 2048, 128, 512, false, true, true},
    {"small qkv dweight", 128, 384, 1024, true, false, false},
    {"small mlp dweight", 128, 512, 2048, true, false, false},
    {"small projection dweight", 128, 128, 2048, true, false, false},
    {"small head", 1024, 1536, 128, false, true, true},
    {"small head dx", 1024, 128, 1536, false, false, true},
    {"small head dweight", 1536, 128, 1024, true, false, false},
    {"scalar head", 1024, 1, 128, false, true, true},
    {"scalar head large", 1024, 1, 768, false, true, true},
    {"scalar head few", 9, 1, 768, false, true, true},
    {"decode 1 small", 1, 384, 128, false, false, true},
    {"decode 16 small", 16, 384, 128, false, false, true},
    {"decode 64 small", 64, 384, 128, false, false, true},
    {"decode 16 small head", 16, 1536, 128, false, true, true},
    {"decode 1 large", 1, 3072, 768, false, false, true},
    {"decode 4 large", 4, 3072, 768, false, false, true},
    {"decode 16 large", 16, 3072, 768, false, false, true},
    {"decode 1 large head", 1, 50304, 768, false, true, true},
    {"decode 16 large head", 16, 50304, 768, false, true, true},
};

// |out - reference| of some elements, in f64, against what rounding allows.
bool correct(const Case& c, const float* a, const float* b, const float* out) {
  double difference = 0, norm = 0;
  for (int64_t sample = 0; sample < 200; ++sample) {
    const int64_t i = sample * 7919 % c.m, j = sample * 104729 % c.n;
    double sum = 0;
    for (int64_t p = 0; p < c.k; ++p)
      sum +=
          double(a[c.transpose_a ? p * c.m + i : i * c.k + p]) * double(b[c.transpose_b ? j * c.k + p : p * c.n + j]);
    difference += (out[i * c.n + j] - sum) * (out[i * c.n + j] - sum);
    norm += sum * sum;
  }
  return std::sqrt(difference / norm) < 1e-5;
}

// All three matrices once; the result twice where it is added to.
int64_t bytes_of(const Case& c) {
  return 4 * (c.m * c.k + c.k * c.n + (c.transpose_a ? 2 : 1) * c.m * c.n);
}

bool run(const Case& c, int threads) {
  cpu::CpuBackend backend(threads);
  const Buffer memory(backend, (c.m * c.k + c.k * c.n + c.m * c.n) * int64_t(sizeof(float)));
  float* const a = static_cast<float*>(memory.data());
  float *const b = a + c.m * c.k, *const out = b + c.k * c.n;
  op::Gemm op{.out = {out, DType::f32, c.m, c.n},
              .a = {a, DType::f32, c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k},
              .b = {b, DType::f32, c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n},
              .transpose_a = c.transpose_a,
              .transpose_b = c.transpose_b,
              .accumulate = c.transpose_a,  // as gradients do
              .weight = c.weight};
  backend.upload(op.a, bench::random_normal(c.m * c.k, 1).data());
  backend.upload(op.b, bench::random_normal(c.k * c.n, 2).data());
  backend.zero(op.out);
  backend.run(op);
  if (!correct(c, a, b, out)) {
    std::fprintf(stderr, "%s: wrong result\n", c.name);
    return false;
  }
  const bench::Seconds seconds = bench::seconds_per_call([&] { backend.run(op); });
  const double gflop = 2e-9 * double(c.m) * double(c.n) * double(c.k);
  const int64_t bytes = bytes_of(c);
  // Measured beside each case: the clock of a shared machine moves from minute to minute.
  const std::string level = backend.name() + sizeof "cpu";
  const double peak = bench::peak_gflops(level, DType::f32, threads);
  const double read = bench::read_gb_per_s(level, bytes, threads);
  const double bound = std::max(gflop / peak, double(bytes) * 1e-9 / read);
  std::printf(
      "{\"name\":\"%s\",\"m\":%ld,\"n\":%ld,\"k\":%ld,\"form\":\"%c%c\",\"level\":\"%s\",\"threads\":%d,\"ms\":%.5f,"
      "\"best_ms\":%.5f,\"gflops\":%.1f,\"bytes\":%ld,\"limits\":{\"gflops\":%.1f,\"gb_per_s\":%.1f},"
      "\"percent_of_bound\":%.1f}\n",
      c.name, long(c.m), long(c.n), long(c.k), c.transpose_a ? 'T' : 'N', c.transpose_b ? 'T' : 'N', level.c_str(),
      threads, seconds.median * 1e3, seconds.best * 1e3, gflop / seconds.best, long(bytes), peak, read,
      100 * bound / seconds.best);
  std::fflush(stdout);
  return true;
}

}  // namespace

// gemm --list            the cases, not measured
// gemm [NAME] [THREADS]   all cases or one, on one thread and on all or on so many. HEED_CPU picks the level.
int main(int argc, char** argv) {
  const std::string wanted = argc > 1 ? argv[1] : "";
  const int threads = argc > 2 ? std::atoi(argv[2]) : 0;
  bool ok = true;
  for (const Case& c : kCases) {
    if (wanted == "--list") {
      std::printf("{\"name\":\"%s\",\"m\":%ld,\"n\":%ld,\"k\":%ld,\"form\":\"%c%c\",\"bytes\":%ld}\n", c.name,
                  long(c.m), long(c.n), long(c.k), c.transpose_a ? 'T' : 'N', c.transpose_b ? 'T' : 'N',
                  long(bytes_of(c)));
      continue;
    }
    if (!wanted.empty() && wanted != c.name) continue;
    const int all = threads > 0 ? threads : cpu::available_cpus();
    if (threads == 0 && all > 1) ok = run(c, 1) && ok;
    ok = run(c, all) && ok;
  }
  return ok ? 0 : 1;
}
