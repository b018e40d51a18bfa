#include "native/cpu/pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "native/platform/platform.h"

namespace heed::cpu {
namespace {

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The quota of one cgroup folder in CPUs, or 0 when there is none.
double read_quota(const std::string& folder) {
  double quota = 0, period = 0;
  std::string word;
  if (std::ifstream v2(folder + "/cpu.max"); v2 >> word >> period) {
    return word == "max" || period <= 0 ? 0 : std::atof(word.c_str()) / period;
  }
  std::ifstream v1_quota(folder + "/cpu.cfs_quota_us"), v1_period(folder + "/cpu.cfs_period_us");
  if (v1_quota >> quota && v1_period >> period && quota > 0 && period > 0) return quota / period;
  return 0;
}

// The smallest quota from this process's cgroup up to the root; 0: none.
double cgroup_quota() {
  double tightest = 0;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:cpu,cpuacct:/path" (v1) or "0::/path" (v2)
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string controllers(1, ',');
    controllers.append(line, first + 1, second - first - 1).push_back(',');
    std::string root = "/sys/fs/cgroup";
    if (controllers.find(",cpu,") != std::string::npos)
      root += "/cpu";
    else if (controllers != ",,")
      continue;
    for (std::string path = line.substr(second + 1);;) {
      const double quota = read_quota(root + path);
      if (quota > 0 && (tightest == 0 || quota < tightest)) tightest = quota;
      if (path.empty() || path == "/") break;
      const size_t slash = path.rfind('/');
      path.resize(slash == std::string::npos ? 0 : slash);
    }
  }
  return tightest;
}

class State;
State& state();

thread_local bool in_task = false;
thread_local int this_worker = 0;

// The indices of a job are claimed from one atomic word: its upper half is the number of threads that may take part,
// its lower half the number of indices left. A thread that claimed an index may read the job's fields until it reports
// the index done, so a worker that wakes up late finds either nothing to do or a running job: the caller never waits
// for a worker without an index.
class State {
 public:
  void run(int threads, int64_t count, void (*task)(void*, int64_t), void* context) {
    const std::lock_guard serial(callers_);
    grow(threads - 1);
    task_ = task;
    context_ = context;
    count_ = count;
    done_.store(0, std::memory_order_relaxed);
    word_.store(uint64_t(threads) << 32 |
                uint64_t(count));  // sequentially consistent, like sleepers_: one of the two sees the other's write
    if (sleepers_.load() > 0) {
      { const std::lock_guard lock(sleep_); }
      wake_.notify_all();
    }
    work(0);
    for (int spins = 0; done_.load(std::memory_order_acquire) != count; ++spins) {
      if (spins < kSpinsBeforeYield)
        pause_cpu();
      else
        std::this_thread::yield();
    }
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  // How long a worker spins for the next job before it sleeps: longer than the serial part between two ops of a
  // training step, much shorter than a time slice.
  static constexpr std::chrono::microseconds kSpin{100};
  static constexpr int kSpinsBeforeYield = 200;

  bool has_work(int id) const {
    const uint64_t word = word_.load();
    return uint32_t(word) != 0 && uint64_t(id) < word >> 32;
  }

  void work(int id) {
    int64_t finished = 0;
    in_task = true;
    for (uint64_t word = word_.load(std::memory_order_acquire); uint32_t(word) != 0 && uint64_t(id) < word >> 32;) {
      if (!word_.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      try {
        task_(context_, count_ - int64_t(uint32_t(word)));
      } catch (...) {
        const std::lock_guard lock(sleep_);
        if (error_ == nullptr) error_ = std::current_exception();
      }
      ++finished;
      word = word_.load(std::memory_order_acquire);
    }
    in_task = false;
    // After the last claim done_ may reach count_, and from then on the job's fields belong to the caller again.
    if (finished != 0) done_.fetch_add(finished, std::memory_order_acq_rel);
  }

  void worker(int id) {
    for (;;) {
      const auto start = std::chrono::steady_clock::now();
      for (int spins = 1; !has_work(id); ++spins) {
        if (spins % 64 != 0) {
          pause_cpu();
          continue;
        }
        if (std::chrono::steady_clock::now() - start > kSpin) {
          std::unique_lock lock(sleep_);
          sleepers_.fetch_add(1);
          wake_.wait(lock, [&] { return has_work(id); });
          sleepers_.fetch_sub(1);
          break;
        }
        std::this_thread::yield();
      }
      work(id);
    }
  }

  // If a thread cannot be created, the others take its indices.
  void grow(int workers) {
    if (num_workers_ >= workers) return;
    // Workers never end: the addon stays, even if the Node worker that loaded it ends and nobody else has.
    platform::keep_loaded(reinterpret_cast<const void*>(&state));
    const platform::WithoutSignals none;
    try {
      while (num_workers_ < workers) {
        std::thread([this, id = num_workers_ + 1] {
          this_worker = id;
          worker(id);
        }).detach();
        ++num_workers_;
      }
    } catch (const std::system_error&) {
    }
  }

  std::mutex callers_;
  void (*task_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
  std::exception_ptr error_;
  alignas(64) std::atomic<uint64_t> word_{0};
  alignas(64) std::atomic<int64_t> done_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::mutex sleep_;
  std::condition_variable wake_;
  int num_workers_ = 0;
};

// Never destroyed: its threads live until the process ends.
State& state() {
  static State* const s = new State;
  return *s;
}

}  // namespace

int available_cpus() {
  static const int cpus = [] {
    int count = int(std::thread::hardware_concurrency());
    const int usable = platform::usable_cpus();
    if (usable > 0) count = usable;
#ifdef __linux__
    const double quota = cgroup_quota();
    if (quota > 0) count = std::min(count, int(std::lround(quota)));
#endif
    return std::clamp(count, 1, kMaxThreads);
  }();
  return cpus;
}

void Pool::run(int threads, int64_t count, void (*task)(void*, int64_t), void* context) {
  if (in_task || threads <= 1 || count <= 1 || count > int64_t(UINT32_MAX)) {
    for (int64_t i = 0; i < count; ++i) task(context, i);
    return;
  }
  state().run(std::min(threads, kMaxThreads), count, task, context);
}

int worker_index() {
  return this_worker;
}

}  // namespace heed::cpu
