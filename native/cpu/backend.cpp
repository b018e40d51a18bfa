#include "native/cpu/backend.h"

#include <cstdlib>
#include <cstring>

#include "native/core/error.h"
#include "native/cpu/memory.h"
#include "native/cpu/peak.h"
#include "native/cpu/pool.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace heed::cpu {
namespace {

#if defined(__x86_64__)
// Everything that the compiler may emit for -march=x86-64-v3 and -v4 (cmake: HEED_FLAGS), not only what the kernels
// use; by CPUID, since not every compiler's run-time library has __builtin_cpu_supports: leaf 1, leaf 7 and leaf
// 0x80000001, and that the system saves the registers (XCR0).
[[maybe_unused]] bool supports(uint32_t saved, uint32_t leaf7) {
  uint32_t a, b, c, d, low, high;
  constexpr uint32_t kLeaf1 = 1u << 0 | 1u << 9 | 1u << 12 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 22 | 1u << 23 |
                              1u << 27 | 1u << 28 | 1u << 29;  // SSE3 to SSE4.2, FMA, CX16, MOVBE, POPCNT, OSXSAVE,
                                                               // AVX, F16C
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & kLeaf1) != kLeaf1) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & leaf7) != leaf7) return false;
  if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || (c & (1u << 0 | 1u << 5)) != (1u << 0 | 1u << 5)) return false;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & saved) == saved;
}
constexpr uint32_t kV3 = 1u << 3 | 1u << 5 | 1u << 8;                                 // BMI, AVX2, BMI2
constexpr uint32_t kV4 = kV3 | 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;  // AVX-512 F, DQ, CD, BW, VL
#ifdef __APPLE__
constexpr uint32_t kSaved512 = 0x6;  // macOS keeps the others from their first use on
#else
constexpr uint32_t kSaved512 = 0xe6;
#endif
[[maybe_unused]] bool supports_v3() {
  return supports(0x6, kV3);
}
[[maybe_unused]] bool supports_v4() {
  return supports(kSaved512, kV4);
}
[[maybe_unused]] bool supports_avx512_bf16() {
  uint32_t a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5) != 0;
}
#endif

// The levels of this build, best first.
const Level* levels(int& count) {
  static const Level list[] = {
#ifdef HEED_HAS_avx512_bf16
      {&kTableAvx512Bf16, supports_v4() && supports_avx512_bf16()},
#endif
#ifdef HEED_HAS_avx512
      {&kTableAvx512, supports_v4()},
#endif
#ifdef HEED_HAS_avx2
      {&kTableAvx2, supports_v3()},
#endif
      {&kTablePortable, true},
  };
  count = int(sizeof list / sizeof list[0]);
  return list;
}

const KernelTable& pick_level(std::string wanted) {
  std::string source = "level";
  if (wanted.empty()) {
    const char* environment = std::getenv("HEED_CPU");
    if (environment != nullptr) wanted = environment;
    source = "HEED_CPU";
  }
  int count = 0;
  const Level* list = levels(count);
  std::string names;
  for (int i = 0; i < count; ++i) {
    const std::string name = list[i].table->name;
    if (wanted.empty() && list[i].supported) return *list[i].table;
    if (wanted == name) {
      require(list[i].supported, source, " is ", wanted, ", which this CPU does not support");
      return *list[i].table;
    }
    names += (i == 0 ? "" : i + 1 == count ? " or " : ", ") + name;
  }
  throw Error(ErrorCode::InvalidArgument, source + " is \"" + wanted + "\", expected " + names);
}

// Large blocks are copied by all threads: one alone does not reach the memory's bandwidth.
constexpr int64_t kBlock = int64_t{1} << 20;

template <class F>
void for_blocks(int threads, int64_t bytes, F&& body) {
  parallel_for(threads, (bytes + kBlock - 1) / kBlock, [&](int64_t i) {
    const int64_t begin = i * kBlock;
    body(begin, bytes - begin < kBlock ? bytes - begin : kBlock);
  });
}

void copy_bytes(int threads, void* dst, const void* src, int64_t bytes) {
  for_blocks(threads, bytes, [&](int64_t begin, int64_t size) {
    std::memcpy(static_cast<char*>(dst) + begin, static_cast<const char*>(src) + begin, size_t(size));
  });
}

}  // namespace

struct CpuBackend::State {
  const KernelTable* table;
  std::string name;
  Context context;
};

CpuBackend::CpuBackend(int threads, const std::string& level) : state_(std::make_unique<State>()) {
  require(threads >= 0 && threads <= kMaxThreads, "threads must be in [0, ", kMaxThreads, "], got ", threads);
  state_->table = &pick_level(level);
  state_->name = std::string("cpu ") + state_->table->name;
  state_->context.threads = threads > 0 ? threads : available_cpus();
}

CpuBackend::~CpuBackend() = default;

void* CpuBackend::allocate(int64_t bytes) {
  return allocate_memory(bytes);
}

void CpuBackend::release(void* data, int64_t bytes) noexcept {
  state_->context.packs.released(data, bytes);
  free_memory(data, bytes);
}

void CpuBackend::upload(const Tensor& dst, const void* host) {
  copy_bytes(threads(), dst.data, host, dst.bytes());
  state_->context.packs.written(dst.data, dst.bytes());
}

void CpuBackend::download(void* host, const Tensor& src) {
  copy_bytes(threads(), host, src.data, src.bytes());
}

void CpuBackend::copy(const Tensor& dst, const Tensor& src) {
  require(dst.dtype == src.dtype && dst.rows == src.rows && dst.cols == src.cols, "cannot copy (", src.rows, ", ",
          src.cols, ") into (", dst.rows, ", ", dst.cols, ")");
  copy_bytes(threads(), dst.data, src.data, dst.bytes());
  state_->context.packs.written(dst.data, dst.bytes());
}

void CpuBackend::zero(const Tensor& dst) {
  for_blocks(threads(), dst.bytes(),
             [&](int64_t begin, int64_t size) { std::memset(static_cast<char*>(dst.data) + begin, 0, size_t(size)); });
  state_->context.packs.written(dst.data, dst.bytes());
}

const char* CpuBackend::name() const {
  return state_->name.c_str();
}
int CpuBackend::threads() const {
  return state_->context.threads;
}
Held CpuBackend::held() const {
  return {.scratch_bytes = state_->context.scratch.bytes(), .packed_bytes = state_->context.packs.bytes()};
}

// Keys transposed, so that scores of neighbouring positions are neighbours:
//   keys (slots · Hk · D, T)   values (slots · Hk · T, D)   T a multiple of 16
CacheShape CpuBackend::cache_shape(DType dtype, int64_t slots, int64_t length, int64_t num_kv_heads,
                                   int64_t head_dim) const {
  const int64_t T = round_up(length, 16), heads = slots * num_kv_heads;
  return {{nullptr, dtype, heads * head_dim, T}, {nullptr, dtype, heads * T, head_dim}, T};
}

// A chunk of about 32 MB.
int64_t CpuBackend::logits_rows(int64_t padded_vocab) const {
  constexpr int64_t kFloats = 8 << 20;
  return kFloats / padded_vocab < 16 ? 16 : kFloats / padded_vocab;
}

// In bf16 a logit of 20 would be off by 0.06, and every probability thus by 6 %.
DType CpuBackend::logits_dtype(DType) const {
  return DType::f32;
}

double CpuBackend::peak_flops(DType dtype) const {
  constexpr int kRounds = 40;
  return cpu::peak_flops(state_->table->name, dtype, threads(), kRounds);
}

namespace {

template <class Op>
void reserve_packed(const KernelTable&, Context&, const Op&) {}
void reserve_packed(const KernelTable& table, Context& context, const op::Gemm& op) {
  const int64_t packed = table.packed_floats(op);
  if (op.weight && op.b.size() != 0 && packed != 0) context.packs.reserve(op.b, op.transpose_b, packed);
}

}  // namespace

#define X(Op)                                                                                     \
  void CpuBackend::launch(const op::Op& op) {                                                     \
    Context& context = state_->context;                                                           \
    state_->table->Op.run(context, op);                                                           \
    op::for_each_written(op, [&](const Tensor& t) { context.packs.written(t.data, t.bytes()); }); \
  }                                                                                               \
  void CpuBackend::prepare(const op::Op& op) {                                                    \
    Context& context = state_->context;                                                           \
    context.workspace(state_->table->Op.need(context, op));                                       \
    reserve_packed(*state_->table, context, op);                                                  \
  }
HEED_OPS(X)
#undef X

}  // namespace heed::cpu
