// Timing for the native benchmarks.
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

}  // namespace bench
