// What the cases of ops are made from: tensors of random numbers, in both types.
#pragma once

#include "test/native/cuda/bits.h"
#include "test/native/reference.h"

namespace heed::testing {

struct Maker {
  Device& d;
  DType dtype;
  unsigned seed = 1;

  Tensor normal(int64_t rows, int64_t cols = 1, double scale = 1) {
    const std::vector<double> x = reference::random_normal(size_t(rows * cols), seed++, scale);
    return dtype == DType::bf16 ? d.bf16(x, rows, cols) : d.f32(x, rows, cols);
  }
  Tensor f32(int64_t rows, int64_t cols = 1, double scale = 1) {
    return d.f32(reference::random_normal(size_t(rows * cols), seed++, scale), rows, cols);
  }
  Tensor out(int64_t rows, int64_t cols = 1) { return d.nan(rows, cols, dtype); }
  Tensor ints(int64_t count, int32_t below) {
    std::vector<int32_t> x;
    for (int64_t i = 0; i < count; ++i) x.push_back(int32_t((i * 7919 + 3) % below));
    return d.i32(x, count);
  }
};

struct OpCase {
  const char* name;
  Tensor (*compute)(Maker&);
  bool both = true;  // types, or f32 alone
};
inline std::vector<BitsCase> in_both_types(const std::vector<OpCase>& all) {
  std::vector<BitsCase> result;
  for (const OpCase& c : all)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && !c.both) continue;
      const std::string name = std::string(c.name) + (dtype == DType::bf16 ? "_bf16" : "_f32");
      result.push_back({name, name, [compute = c.compute, dtype](Device& d) {
                          Maker maker{d, dtype};
                          return compute(maker);
                        }});
    }
  return result;
}

}  // namespace heed::testing
