#include "native/cpu/backend.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "native/core/error.h"
#include "native/cpu/memory.h"
#include "native/cpu/pool.h"

namespace heed::cpu {
namespace {

// The levels this build has, best first.
const Level* levels(int& count) {
  static const Level list[] = {
#ifdef HEED_HAS_avx512
      {&kTableAvx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma")},
#endif
#ifdef HEED_HAS_avx2
      {&kTableAvx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                        __builtin_cpu_supports("bmi2")},
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

// Large blocks go through all threads: one alone does not reach the memory's bandwidth.
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
  std::mutex mutex;  // buffers may die on another thread than the one that computes
  std::unordered_map<void*, int64_t> allocated;
};

CpuBackend::CpuBackend(int threads, const std::string& level) : state_(std::make_unique<State>()) {
  require(threads >= 0 && threads <= kMaxThreads, "threads must be in [0, ", kMaxThreads, "], got ", threads);
  state_->table = &pick_level(level);
  state_->name = std::string("cpu ") + state_->table->name;
  state_->context.threads = threads > 0 ? threads : available_cpus();
}

CpuBackend::~CpuBackend() {
  for (const auto& [data, bytes] : state_->allocated) free_memory(data, bytes);
}

void* CpuBackend::allocate(int64_t bytes) {
  void* data = allocate_memory(bytes);
  const std::lock_guard lock(state_->mutex);
  state_->allocated[data] = bytes;
  return data;
}

void CpuBackend::release(void* data) noexcept {
  int64_t bytes = 0;
  {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->allocated.find(data);
    if (found == state_->allocated.end()) return;
    bytes = found->second;
    state_->allocated.erase(found);
  }
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
int64_t CpuBackend::packed_bytes() const {
  return state_->context.packs.bytes();
}

namespace {

// The ops that write to parameters.
template <class Op>
void report_writes(PackCache&, const Op&) {}
void report_writes(PackCache& packs, const op::AdamW& op) {
  packs.written(op.weight.data, op.weight.bytes());
}
void report_writes(PackCache& packs, const op::Lerp& op) {
  packs.written(op.out.data, op.out.bytes());
}

}  // namespace

#define X(Op)                                 \
  void CpuBackend::launch(const op::Op& op) { \
    state_->table->Op(state_->context, op);   \
    report_writes(state_->context.packs, op); \
  }
HEED_OPS(X)
#undef X

}  // namespace heed::cpu
