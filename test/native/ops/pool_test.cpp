#include "native/cpu/pool.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "native/core/error.h"
#include "native/cpu/backend.h"

namespace {

using namespace heed;
using cpu::parallel_for;

TEST(Pool, RunsEveryIndexOnce) {
  for (const int threads : {1, 2, 5})
    for (const int64_t count : {0, 1, 2, 3, 100, 1000}) {
      std::vector<std::atomic<int>> runs(size_t(count) + 1);
      parallel_for(threads, count, [&](int64_t i) { ++runs[size_t(i)]; });
      for (int64_t i = 0; i < count; ++i) EXPECT_EQ(runs[size_t(i)], 1) << "index " << i << " of " << count;
      EXPECT_EQ(runs[size_t(count)], 0);
    }
}

// Thousands of short jobs in a row: late workers find jobs that have ended, or the next one.
TEST(Pool, WhatTasksWroteIsSeenByTheCaller) {
  std::vector<int64_t> values(64);
  for (int64_t job = 0; job < 20000; ++job) {
    const int64_t count = 2 + job % 63;
    parallel_for(2 + int(job % 3), count, [&](int64_t i) { values[size_t(i)] = job + i; });
    const int64_t sum = std::accumulate(values.begin(), values.begin() + count, int64_t{0});
    ASSERT_EQ(sum, count * job + count * (count - 1) / 2);
  }
}

TEST(Pool, KeepsToTheNumberOfThreads) {
  for (const int threads : {2, 3}) {
    std::atomic<int> inside{0}, most{0};
    parallel_for(threads, 60, [&](int64_t) {
      const int now = ++inside;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      --inside;
    });
    EXPECT_LE(most, threads);
    EXPECT_GT(most, 1) << "sleeping tasks must overlap";
  }
}

TEST(Pool, ServesSeveralCallersAtOnce) {
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(4);
  for (size_t c = 0; c < sums.size(); ++c)
    callers.emplace_back([&, c] {
      for (int job = 0; job < 500; ++job) {
        std::vector<int64_t> squares(37);
        parallel_for(2, 37, [&](int64_t i) { squares[size_t(i)] = i * i; });
        sums[c] += std::accumulate(squares.begin(), squares.end(), int64_t{0});
      }
    });
  for (std::thread& caller : callers) caller.join();
  for (const int64_t sum : sums) EXPECT_EQ(sum, 500 * 16206);
}

TEST(Pool, ATaskMayCallAgain) {
  std::atomic<int> runs{0};
  parallel_for(2, 8, [&](int64_t) { parallel_for(2, 8, [&](int64_t) { ++runs; }); });
  EXPECT_EQ(runs, 64);
}

TEST(Pool, AnExceptionOfATaskReachesTheCaller) {
  for (const int threads : {1, 3})
    for (int repeat = 0; repeat < 20; ++repeat) {
      EXPECT_THROW(parallel_for(threads, 50,
                                [](int64_t i) {
                                  if (i % 10 == 3) throw std::runtime_error("task");
                                }),
                   std::runtime_error);
      std::atomic<int> runs{0};
      parallel_for(threads, 50, [&](int64_t) { ++runs; });
      EXPECT_EQ(runs, 50);
    }
}

TEST(Pool, WorkersBlockSignals) {
  const pthread_t caller = pthread_self();
  std::atomic<int> workers{0}, unblocked{0};
  parallel_for(3, 60, [&](int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (pthread_equal(pthread_self(), caller)) return;
    ++workers;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGPROF})
      if (!sigismember(&blocked, signal)) ++unblocked;
  });
  EXPECT_GT(workers, 0);
  EXPECT_EQ(unblocked, 0);
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  EXPECT_FALSE(sigismember(&blocked, SIGUSR1)) << "the caller's own mask must be as it was";
}

TEST(Pool, SleepsWhenIdle) {
  parallel_for(4, 100, [](int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto cpu_time = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  const double before = cpu_time();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_time() - before, 0.02);
}

TEST(Pool, CountsTheCpusItMayUse) {
  const int cpus = cpu::available_cpus();
  EXPECT_GE(cpus, 1);
  EXPECT_LE(cpus, int(std::thread::hardware_concurrency()));
  EXPECT_EQ(cpu::CpuBackend().threads(), cpus);
  EXPECT_EQ(cpu::CpuBackend(3).threads(), 3);
}

TEST(Scratch, IsAlignedKeptAndGrows) {
  cpu::Scratch scratch;
  const cpu::Workspace small = scratch.workspace({.shared = 10, .own = 100}, 2);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(small.shared) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(small.own()) % 64, 0u);
  EXPECT_GE(small.own(), small.shared + 10);
  const int64_t bytes = scratch.bytes();
  EXPECT_EQ(scratch.workspace({.own = 50}, 2).shared, small.shared);
  EXPECT_EQ(scratch.bytes(), bytes);
  const cpu::Workspace large = scratch.workspace({.own = 4 << 20}, 2);
  EXPECT_EQ(scratch.bytes(), 2 * (int64_t{4} << 20) * 4);
  std::atomic<int> far{0};
  parallel_for(2, 60, [&](int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    large.own()[(4 << 20) - 1] = 1;
    if (large.own() == large.first_own + (4 << 20)) ++far;
  });
  EXPECT_GT(far, 0);
  EXPECT_EQ(large.own(), large.first_own);
}

TEST(CpuBackend, HandsOutZeroedAlignedMemory) {
  cpu::CpuBackend backend(2);
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4096}, int64_t{5} << 20, (int64_t{6} << 20) + 17}) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      const Buffer buffer(backend, bytes);
      char* const data = static_cast<char*>(buffer.data());
      ASSERT_NE(data, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
      int64_t dirty = 0;
      for (int64_t i = 0; i < bytes; ++i) dirty += data[i] != 0;
      EXPECT_EQ(dirty, 0);
      for (int64_t i = 0; i < bytes; ++i) data[i] = 1;
    }
  }
}

TEST(CpuBackend, SaysWhatItCannotAllocate) {
  cpu::CpuBackend backend(1);
  try {
    backend.allocate(int64_t{1} << 60);
    FAIL() << "must throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::OutOfMemory);
    EXPECT_STREQ(error.what(), "cannot allocate 1152921504606846976 bytes");
  }
}

TEST(CpuBackend, MovesBytes) {
  cpu::CpuBackend backend(2);
  constexpr int64_t kRows = 700001, kCols = 3;  // more than one block of a parallel copy
  const Buffer memory(backend, 2 * kRows * kCols * int64_t(sizeof(float)));
  const Tensor a{memory.data(), DType::f32, kRows, kCols};
  const Tensor b{static_cast<float*>(memory.data()) + a.size(), DType::f32, kRows, kCols};
  std::vector<float> host(size_t(a.size())), back(host.size());
  std::iota(host.begin(), host.end(), 0.0f);
  backend.upload(a, host.data());
  backend.copy(b, a);
  backend.zero(a);
  backend.download(back.data(), b);
  EXPECT_EQ(back, host);
  backend.download(back.data(), a);
  EXPECT_EQ(back, std::vector<float>(host.size(), 0.0f));
  EXPECT_THROW(backend.copy(a, b.slice(0, 2)), Error);
}

TEST(CpuBackend, PicksALevelByName) {
  EXPECT_STREQ(cpu::CpuBackend(1, "portable").name(), "cpu portable");
  try {
    cpu::CpuBackend(1, "sse9");
    FAIL() << "must throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::InvalidArgument);
    EXPECT_EQ(std::string(error.what()).rfind("level is \"sse9\", expected ", 0), 0u) << error.what();
  }
  EXPECT_THROW(cpu::CpuBackend(-1), Error);
}

}  // namespace
