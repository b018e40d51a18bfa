// Splits the work of row and element kernels into tasks, and a row into vectors. The size of a task does not affect
// results: each row or element is computed independently.
#pragma once

#include "native/cpu/level.h"
#include "native/cpu/pool.h"
#include "native/cpu/vec.h"

namespace heed::cpu::HEED_LEVEL {

constexpr int64_t kTaskElements = 16384;  // large enough to hide the overhead, small enough for an even distribution

static inline float* floats(const Tensor& t) {
  return static_cast<float*>(t.data);
}
static inline int32_t* ints(const Tensor& t) {
  return static_cast<int32_t*>(t.data);
}
// The data of a tensor that has the same type as `like`.
template <class T>
static inline T* as(const T*, const Tensor& t) {
  return static_cast<T*>(t.data);
}

// Calls body(data of t as float* or bf16*), so that a kernel is written once for both.
template <class F>
static inline void with_type(const Tensor& t, F&& body) {
  if (t.dtype == DType::bf16)
    body(static_cast<bf16*>(t.data));
  else
    body(static_cast<float*>(t.data));
}

static inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
static inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static inline int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static inline int64_t pad_piece(int64_t floats) {
  return ceil_div(floats, 16) * 16;
}

// Allocates pieces of memory, each on its own cache lines. Without memory it only measures.
struct Pieces {
  float* memory;
  int64_t used = 0;

  float* take(int64_t floats) {
    float* const piece = memory == nullptr ? nullptr : memory + used;
    used += pad_piece(floats);
    return piece;
  }
  int32_t* take_ints(int64_t count) { return reinterpret_cast<int32_t*>(take(count)); }
};

// Calls body(begin, end) for spans of size `span` of [0, size).
template <class F>
static inline void for_spans(const Context& context, int64_t size, int64_t span, F&& body) {
  parallel_for(context.threads, ceil_div(size, span),
               [&](int64_t i) { body(i * span, smaller(size, (i + 1) * span)); });
}

// Calls body(r) for every row.
template <class F>
static inline void for_rows(const Context& context, int64_t rows, int64_t cols, F&& body) {
  for_spans(context, rows, cols < kTaskElements ? kTaskElements / (cols < 1 ? 1 : cols) : 1,
            [&](int64_t begin, int64_t end) {
              for (int64_t r = begin; r < end; ++r) body(r);
            });
}

// Calls body(i, n) for each vector of a row, n elements from i: kLanes of them except in the tail. get and put read and
// write such a vector.
template <class F>
static inline void for_vectors(int64_t cols, F&& body) {
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) body(i, kLanes);
  if (i < cols) body(i, cols - i);
}
template <class T>
static inline vec get(const T* p, int64_t n, float fill = 0) {
  return n == kLanes ? load(p) : load_n(p, n, fill);
}
template <class T>
static inline void put(T* p, vec v, int64_t n) {
  n == kLanes ? store(p, v) : store_n(p, v, n);
}

}  // namespace heed::cpu::HEED_LEVEL
