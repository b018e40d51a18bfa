// What the ops' check() require of tensors and numbers, for all backends. Errors name the field, what it is and what
// was expected.
#pragma once

#include <cmath>

#include "native/core/error.h"
#include "native/ops/sample.h"
#include "native/ops/types.h"

namespace heed::op {

inline const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::i8:
      return "i8";
    case DType::i32:
      return "i32";
    case DType::f64:
      return "f64";
  }
  return "of an unknown type";
}

inline void require_dtype(const char* name, const Tensor& t, DType dtype) {
  require(t.dtype == dtype, name, " is ", to_string(t.dtype), ", expected ", to_string(dtype));
}

// Checks a parameter, activation or logits tensor. Returns its type, which the op's other such tensors must have too.
inline DType require_float(const char* name, const Tensor& t) {
  require(t.dtype == DType::f32 || t.dtype == DType::bf16, name, " is ", to_string(t.dtype), ", expected f32 or bf16");
  return t.dtype;
}

// A field that was not set has no rows, so it fails here too; null data is allowed, for measuring runs.
inline void require_shape(const char* name, const Tensor& t, int64_t rows, int64_t cols = 1, DType dtype = DType::f32) {
  require_dtype(name, t, dtype);
  require(t.rows == rows && t.cols == cols, name, " is (", t.rows, ", ", t.cols, "), expected (", rows, ", ", cols,
          ")");
}

inline void require_ints(const char* name, const Tensor& t, int64_t rows, int64_t cols = 1) {
  require_shape(name, t, rows, cols, DType::i32);
}

inline void require_matrix(const char* name, const Tensor& t, DType dtype) {
  require_dtype(name, t, dtype);
  require(t.rows >= 0 && t.cols > 0, name, " is (", t.rows, ", ", t.cols, "), expected a matrix with columns");
}
inline DType require_matrix(const char* name, const Tensor& t) {
  require_matrix(name, t, require_float(name, t));
  return t.dtype;
}

inline bool given(const Tensor& t) {
  return t.rows != 0;
}

inline void require_optional(const char* name, const Tensor& t, int64_t rows, int64_t cols = 1,
                             DType dtype = DType::f32) {
  if (given(t)) require_shape(name, t, rows, cols, dtype);
}

inline void require_apart(const char* name, const Tensor& t, const char* other_name, const Tensor& other) {
  require(t.data == nullptr || t.size() == 0 || t.data != other.data, name, " must not be ", other_name);
}

// The part's columns are those of the whole from `first` on.
inline void require_part(const char* name, const Tensor& part, int64_t first, const char* whole_name,
                         const Tensor& whole) {
  require(first >= 0 && part.cols > 0 && first + part.cols <= whole.cols, name, " has ", part.cols,
          " columns from column ", first, ", expected a part of the ", whole.cols, " columns of ", whole_name);
}

inline void require_positive(const char* name, double value) {
  require(value > 0 && std::isfinite(value), name, " must be positive, got ", value);
}

// Below this, divided logits are so large that their rounding alone changes probabilities.
inline void require_temperature(double value) {
  require_positive("temperature", value);
  require(value >= kMinTemperature, "temperature must be at least ", kMinTemperature, ", got ", value);
}
inline void require_at_least_zero(const char* name, double value) {
  require(value >= 0 && std::isfinite(value), name, " must be at least 0, got ", value);
}

inline void require_finite(const char* name, double value) {
  require(std::isfinite(value), name, " must be finite, got ", value);
}

inline void require_heads(int64_t num_heads, int64_t num_kv_heads) {
  require(num_heads > 0, "num_heads must be positive, got ", num_heads);
  require(num_kv_heads > 0 && num_heads % num_kv_heads == 0, "num_kv_heads must divide num_heads (", num_heads,
          "), got ", num_kv_heads);
}

inline void require_window(int64_t window) {
  require(window >= 0, "window must be at least 0, got ", window);
}

inline void require_scores(float scale, float softcap) {
  require_at_least_zero("scale", scale);
  require_at_least_zero("softcap", softcap);
}

// Channels per head of a matrix with `heads` heads.
inline int64_t head_dim(const char* name, const Tensor& t, int64_t heads) {
  require(t.cols > 0 && t.cols % heads == 0, name, " has ", t.cols, " columns, expected a multiple of ", heads,
          " heads");
  return t.cols / heads;
}

inline void require_vocab(int64_t vocab, const Tensor& logits) {
  require_matrix("logits", logits);
  require(vocab > 0 && vocab <= logits.cols, "vocab is ", vocab, ", expected at most the ", logits.cols,
          " columns of logits");
}

// The backend determines the layout.
inline DType require_cache(const Tensor& keys, const Tensor& values, int64_t num_kv_heads, int64_t dim) {
  const DType dtype = require_matrix("keys", keys);
  const auto require_heads_of = [&](const char* name, const Tensor& t) {
    require_dtype(name, t, dtype);
    require(t.size() % (num_kv_heads * dim) == 0, name, " is (", t.rows, ", ", t.cols, "), expected a multiple of ",
            num_kv_heads, " key/value heads of ", dim, " channels");
  };
  require_heads_of("keys", keys);
  require_heads_of("values", values);
  return dtype;
}

inline void require_segments(const Tensor& cu_seqlens, const Tensor& parent, int64_t tokens, int64_t max_path) {
  require_ints("parent", parent, parent.rows);
  require_ints("cu_seqlens", cu_seqlens, parent.rows + 1);
  require(max_path >= 0 && max_path <= tokens, "max_path must be in [0, ", tokens, "], got ", max_path);
}

}  // namespace heed::op
