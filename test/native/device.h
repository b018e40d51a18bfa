// Runs ops in tests: on every backend of this machine, in every type, with tensors made from host values.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/core/bf16.h"
#include "native/core/error.h"
#ifdef HEED_TEST_CUDA
#include "native/cuda/fused_backend.h"
#else
#include "native/cpu/backend.h"
#endif
#ifdef HEED_EMULATED
#include "test/native/cuda_emulator/emulator.h"
#endif
#include "test/native/reference.h"

namespace heed::testing {

// A backend, and the type of parameters and activations in a test. Tensors live as long as the Device.
class Device {
 public:
  explicit Device(Backend& backend, DType dtype = DType::f32) : backend_(backend), dtype_(dtype) {}

  Backend& backend() { return backend_; }
  DType dtype() const { return dtype_; }

  // A tensor of the device's type; an op and its reference have the same input if the values are exact() in it.
  Tensor tensor(const std::vector<double>& values, int64_t rows, int64_t cols = 1) {
    return dtype_ == DType::f32 ? f32(values, rows, cols) : half(values, rows, cols);
  }
  // The initial value of an output, so that an element that was not written is detected.
  Tensor out(int64_t rows, int64_t cols = 1) { return nan(rows, cols, dtype_); }

  Tensor f32(const std::vector<double>& values, int64_t rows, int64_t cols = 1) {
    const std::vector<float> floats(values.begin(), values.end());
    return put(floats.data(), DType::f32, rows, cols, floats.size());
  }
  Tensor i32(const std::vector<int32_t>& values, int64_t rows, int64_t cols = 1) {
    return put(values.data(), DType::i32, rows, cols, values.size());
  }
  Tensor i8(const std::vector<int8_t>& values, int64_t rows, int64_t cols = 1) {
    return put(values.data(), DType::i8, rows, cols, values.size());
  }
  Tensor nan(int64_t rows, int64_t cols = 1, DType dtype = DType::f32) {
    const std::vector<uint8_t> ones(size_t(rows * cols * size_of(dtype)), 0xff);
    return put(ones.data(), dtype, rows, cols, size_t(rows * cols));
  }

  // A tensor of f32 or bf16.
  std::vector<float> floats(const Tensor& t) {
    if (t.dtype != DType::bf16) return read<float>(t);
    std::vector<float> values;
    for (const bf16 x : read<bf16>(t)) values.push_back(to_float(x));
    return values;
  }
  std::vector<int32_t> ints(const Tensor& t) { return read<int32_t>(t); }
  std::vector<double> doubles(const Tensor& t) { return read<double>(t); }

  // The largest relative_error() allowed for an output of the device's type: f32_bound, plus in bf16 twice the error of
  // rounding the exact result.
  double bound(const std::vector<double>& expected, double f32_bound) const {
    std::vector<double> rounded;
    for (const double x : expected) rounded.push_back(dtype_ == DType::f32 ? x : to_float(to_bf16(float(x))));
    return 2 * reference::relative_error(rounded, expected) + f32_bound;
  }
  // The same for one element: twice half a unit in the last of 8 bits.
  double bound_of(double expected, double f32_bound) const {
    return (dtype_ == DType::f32 ? 0 : std::fabs(expected) / 128) + f32_bound;
  }

  template <class Op>
  void run(const Op& op) {
    backend_.run(op);
  }

 private:
  Tensor half(const std::vector<double>& values, int64_t rows, int64_t cols) {
    std::vector<bf16> halves;
    for (const double x : values) halves.push_back(to_bf16(float(x)));
    return put(halves.data(), DType::bf16, rows, cols, halves.size());
  }
  Tensor put(const void* data, DType dtype, int64_t rows, int64_t cols, size_t count) {
    EXPECT_EQ(size_t(rows * cols), count);
    Tensor t{nullptr, dtype, rows, cols};
    memory_.emplace_back(backend_,
                         t.bytes());  // the tensor's exact size, so that a sanitizer detects any access outside
    t.data = memory_.back().data();
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
  DType dtype_;
  std::vector<Buffer> memory_;
};

// The backends to test: all that this build and this machine have. `threads` is for those that compute on the CPU, and
// selects the order in which the emulator of CUDA runs a kernel's threads.
struct DeviceKind {
  std::string name;
  std::function<std::unique_ptr<Backend>(int threads)> make;
};

#ifdef HEED_TEST_CUDA
inline std::unique_ptr<Backend> make_cuda([[maybe_unused]] int threads) {
#ifdef HEED_EMULATED
  using Order = emulator::Options::Order;
  emulator::options().order = threads == 1 ? Order::kForward : threads == 2 ? Order::kReverse : Order::kRandom;
#endif
  return std::make_unique<cuda::FusedBackend>();
}
inline const std::vector<DeviceKind>& device_kinds() {
  static const std::vector<DeviceKind> kinds{{"cuda", make_cuda}};
  return kinds;
}
constexpr int kThreadsTried[] = {1};  // one suffices: dependence on the order is reported as a race
#ifdef HEED_EMULATED
constexpr int kSlowness = 20;  // factor by which statistical tests reduce their repetitions
#else
constexpr int kSlowness = 1;
#endif
#else
constexpr int kThreadsTried[] = {1, 2};
constexpr int kSlowness = 1;
inline std::vector<std::string> cpu_levels() {
  std::vector<std::string> levels;
  for (const char* level : {"avx512_bf16", "avx512", "avx2", "portable"}) {
    try {
      cpu::CpuBackend probe(1, level);
      levels.push_back(level);
    } catch (const Error&) {  // not in this build, or not on this machine
    }
  }
  return levels;
}

inline const std::vector<DeviceKind>& device_kinds() {
  static const std::vector<DeviceKind> kinds = [] {
    std::vector<DeviceKind> list;
    for (const std::string& level : cpu_levels())
      list.push_back({level, [level](int threads) { return std::make_unique<cpu::CpuBackend>(threads, level); }});
    return list;
  }();
  return kinds;
}
#endif

// Whether a case that does so many multiplications is left out on the emulator.
constexpr bool too_slow(int64_t products) {
  return kSlowness > 1 && products > 150'000;
}

constexpr DType kTypes[] = {DType::f32, DType::bf16};
inline const char* name_of(DType dtype) {
  return dtype == DType::bf16 ? "bf16" : "f32";
}

// Makes the tests' values exact in a type.
class UnderTest {
 public:
  explicit UnderTest(DType dtype) { reference::significant_bits = dtype == DType::bf16 ? 8 : 24; }
  ~UnderTest() { reference::significant_bits = 24; }
};

// Calls body(device) on every backend in every type, on the CPU with one thread and with two.
template <class F>
void on_every_device(F body) {
  for (const DeviceKind& kind : device_kinds())
    for (const int threads : kThreadsTried)
      for (const DType dtype : kTypes) {
        SCOPED_TRACE(kind.name + ", " + name_of(dtype) + ", threads: " + std::to_string(threads));
        const UnderTest under_test(dtype);
        const std::unique_ptr<Backend> backend = kind.make(threads);
        Device device(*backend, dtype);
        body(device);
      }
}

inline bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// compute(device) returns floats, which must be bit-identical for every number of threads.
template <class F>
void expect_same_bits_with_any_threads(F compute) {
  for (const DeviceKind& kind : device_kinds())
    for (const DType dtype : kTypes) {
      SCOPED_TRACE(kind.name + ", " + name_of(dtype));
      const UnderTest under_test(dtype);
      std::vector<float> first;
      for (const int threads : {1, 2, 3}) {
        const std::unique_ptr<Backend> backend = kind.make(threads);
        Device device(*backend, dtype);
        const std::vector<float> values = compute(device);
        if (threads == 1) first = values;
        EXPECT_TRUE(equal_bits(first, values)) << threads << " threads";
      }
    }
}

// Expects the op to be refused with exactly this message.
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
