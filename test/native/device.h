// Running ops in tests: every backend this machine has, with tensors made from host values.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "native/core/error.h"
#include "native/cpu/backend.h"

namespace heed::testing {

// Tensors live as long as the Device.
class Device {
 public:
  explicit Device(Backend& backend) : backend_(backend) {}

  Tensor f32(const std::vector<double>& values, int64_t rows, int64_t cols = 1) {
    const std::vector<float> floats(values.begin(), values.end());
    return put(floats.data(), DType::f32, rows, cols, floats.size());
  }
  Tensor i32(const std::vector<int32_t>& values, int64_t rows, int64_t cols = 1) {
    return put(values.data(), DType::i32, rows, cols, values.size());
  }
  // What an output starts as, so that an element nobody wrote is found.
  Tensor nan(int64_t rows, int64_t cols = 1, DType dtype = DType::f32) {
    const std::vector<uint8_t> ones(size_t(rows * cols * size_of(dtype)), 0xff);
    return put(ones.data(), dtype, rows, cols, size_t(rows * cols));
  }

  std::vector<float> floats(const Tensor& t) { return read<float>(t); }
  std::vector<int32_t> ints(const Tensor& t) { return read<int32_t>(t); }
  std::vector<double> doubles(const Tensor& t) { return read<double>(t); }

  template <class Op>
  void run(const Op& op) {
    backend_.run(op);
  }

 private:
  Tensor put(const void* data, DType dtype, int64_t rows, int64_t cols, size_t count) {
    EXPECT_EQ(size_t(rows * cols), count);
    Tensor t{nullptr, dtype, rows, cols};
    memory_.push_back(std::make_unique<std::byte[]>(size_t(t.bytes())));
    t.data = memory_.back().get();
    backend_.upload(t, data);
    return t;
  }
  template <class T>
  std::vector<T> read(const Tensor& t) {
    std::vector<T> values(size_t(t.size()));
    backend_.download(values.data(), t);
    return values;
  }

  Backend& backend_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;  // just the tensor's size: a sanitizer sees any step outside
};

inline std::vector<std::string> cpu_levels() {
  std::vector<std::string> levels;
  for (const char* level : {"avx512", "avx2", "portable"}) {
    try {
      cpu::CpuBackend probe(1, level);
      levels.push_back(level);
    } catch (const Error&) {  // not in this build, or not on this machine
    }
  }
  return levels;
}

// body(device) on every backend, with one thread and with two.
template <class F>
void on_every_device(F body) {
  for (const std::string& level : cpu_levels())
    for (const int threads : {1, 2}) {
      SCOPED_TRACE(level + ", threads: " + std::to_string(threads));
      cpu::CpuBackend backend(threads, level);
      Device device(backend);
      body(device);
    }
}

inline bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// compute(device) returns floats: their bits must not depend on the number of threads.
template <class F>
void expect_same_bits_with_any_threads(F compute) {
  for (const std::string& level : cpu_levels()) {
    SCOPED_TRACE(level);
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      cpu::CpuBackend backend(threads, level);
      Device device(backend);
      const std::vector<float> values = compute(device);
      if (threads == 1) first = values;
      EXPECT_TRUE(equal_bits(first, values)) << threads << " threads";
    }
  }
}

// The op is refused with exactly this sentence.
template <class Op>
void expect_refused(const Op& op, const std::string& sentence) {
  try {
    op.check();
    ADD_FAILURE() << "accepted, expected: " << sentence;
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::InvalidArgument);
    EXPECT_EQ(std::string(error.what()), sentence);
  }
}

// A tensor of a shape without memory, for checks.
inline Tensor shape(int64_t rows, int64_t cols = 1, DType dtype = DType::f32) {
  return {nullptr, dtype, rows, cols};
}

}  // namespace heed::testing
