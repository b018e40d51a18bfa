// A matrix in a backend's memory. All arrays in native/ are matrices: a vector is a matrix with one column.
#pragma once

#include <cstdint>

namespace heed {

// f64: only for sums read by the host. i8: only for frozen weights
enum class DType : uint8_t { f32, bf16, i32, f64, i8 };

constexpr int64_t size_of(DType dtype) {
  return dtype == DType::i8 ? 1 : dtype == DType::bf16 ? 2 : dtype == DType::f64 ? 8 : 4;
}

// Non-owning and trivially copyable. Row-major, no strides. Buffer owns, Tensor points.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0;
  int64_t cols = 1;

  int64_t size() const { return rows * cols; }
  int64_t bytes() const { return size() * size_of(dtype); }

  template <class T>
  T* ptr() const {
    return static_cast<T*>(data);
  }

  // Rows [begin, begin + count), the only kind of view.
  Tensor slice(int64_t begin, int64_t count) const {
    char* base = static_cast<char*>(data);
    return {base == nullptr ? nullptr : base + begin * cols * size_of(dtype), dtype, count, cols};
  }
};

}  // namespace heed
