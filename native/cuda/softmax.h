// The log-softmax of one row of logits, a block to a row: the same logits and temperature give the same bits in
// CrossEntropyLoss, TokenLogprobs, PpoPolicyLoss and Sample. In one pass: a thread's sums are relative to the largest
// logit it has met. The order of sums is a function of the vocabulary alone.
#pragma once

#include <cfloat>

#include "native/cuda/elements.h"
#include "native/cuda/math.h"
#include "native/cuda/reduce.h"
#include "native/ops/math.h"

namespace heed::cuda {

// body(std::integral_constant) of how many threads have a row.
template <class F>
void with_logits_threads(int64_t vocab, F&& body) {
  if (vocab <= 256)
    body(std::integral_constant<int, 32>{});
  else if (vocab <= 2048)
    body(std::integral_constant<int, 128>{});
  else
    body(std::integral_constant<int, 512>{});
}

constexpr int kUnit = 8;  // neighbours that a thread has at once

template <class T>
struct Logits {
  T* z;
  int vocab, padded;
  bool wide;  // rows are multiples of 16 bytes

  __device__ static Floats<kUnit> load_unit(const bf16* p) { return load_floats<kUnit>(p); }
  __device__ static Floats<kUnit> load_unit(const float* p) {
    const Floats<4> a = load_floats<4>(p), b = load_floats<4>(p + 4);
    return {{a.at[0], a.at[1], a.at[2], a.at[3], b.at[0], b.at[1], b.at[2], b.at[3]}};
  }
  __device__ static void store_unit(bf16* p, const Floats<kUnit>& x, unsigned) { store_floats(p, x); }
  // Two lanes share out their sixteen floats: each of their two requests then has whole sectors of 32 bytes, of which
  // halves would be requests of their own.
  __device__ static void store_unit(float* p, const Floats<kUnit>& x, unsigned lanes) {
    const bool odd = threadIdx.x % 2 != 0;
    Floats<4> first, second;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float kept = odd ? x.at[4 + i] : x.at[i], other = __shfl_xor_sync(lanes, odd ? x.at[i] : x.at[4 + i], 1);
      first.at[i] = odd ? other : kept;
      second.at[i] = odd ? kept : other;
    }
    __syncwarp(lanes);  // the other lane has read what is overwritten
    p += odd ? -4 : 0;
    store_floats(p, first);
    store_floats(p + 8, second);
  }

  // Logits v .. v + 7; -inf beyond the vocabulary, of which nothing is read.
  __device__ Floats<kUnit> load(int v) const {
    if (wide && v + kUnit <= vocab) return load_unit(z + v);
    Floats<kUnit> x;
#pragma unroll
    for (int i = 0; i < kUnit; ++i) x.at[i] = v + i < vocab ? load_floats<1>(z + v + i).at[0] : -INFINITY;
    return x;
  }
  // Gradients v .. v + 7: zero beyond the vocabulary. Called by these lanes at once, for units that are neighbours.
  __device__ void store(int v, Floats<kUnit> x, unsigned lanes) const {
    if (v + kUnit > vocab) {
#pragma unroll
      for (int i = 0; i < kUnit; ++i)
        if (v + i >= vocab) x.at[i] = 0;
    }
    const bool in_units = sizeof(T) == 2 ? v + kUnit <= padded : padded % (2 * kUnit) == 0;
    if (wide && in_units) return store_unit(z + v, x, lanes);
#pragma unroll
    for (int i = 0; i < kUnit; ++i)
      if (v + i < padded) store_floats(z + v + i, Floats<1>{x.at[i]});
  }
  __device__ float at(int v) const {
    return load_floats<1>(z + v).at[0];
  }
  __device__ Logits row(int64_t r) const {
    return {z + r * padded, vocab, padded, wide};
  }
};

template <class T>
Logits<T> logits_of(const Tensor& t, int64_t vocab) {
  T* z = t.ptr<T>();
  return {z, int(vocab), int(t.cols), t.cols % (16 / int(sizeof(T))) == 0 && aligned(z)};
}

// Of some logits, with x_v = (z_v - max) / (T ln 2):   sum = Σ 2^x_v,   weighted = Σ 2^x_v x_v
struct SoftmaxSums {
  float max, sum, weighted;
};

// The power of two that a logit has: not less than the least normal number's; a NaN stays.
__device__ inline float power_of(float z, float max, float to_log2) {
  return max_or_nan((z - max) * to_log2, -126.0f);
}

__device__ inline SoftmaxSums join_sums(SoftmaxSums a, SoftmaxSums b, float to_log2) {
  const float max = fmaxf(a.max, b.max);
  const float xa = power_of(a.max, max, to_log2), xb = power_of(b.max, max, to_log2);
  const float ea = exp2_in_range(xa), eb = exp2_in_range(xb);
  return {max, a.sum * ea + b.sum * eb, (a.weighted + a.sum * xa) * ea + (b.weighted + b.sum * xb) * eb};
}

struct SoftmaxShared {
  SoftmaxSums partial[16];
};

struct Softmax {
  float max, inverse_temperature, to_log2;
  float sum;      // Σ_v 2^x_v
  float log_sum;  // its natural logarithm
  float entropy;  // nats

  __device__ float power(float z) const { return power_of(z, max, to_log2); }
  __device__ float logprob(float z) const { return (z - max) * inverse_temperature - log_sum; }
};

// Every thread gets the sums. load(v): logits v .. v + 7, asked for in their order.
template <int kThreads, class Load>
__device__ SoftmaxSums sum_logits(int vocab, float to_log2, SoftmaxShared& shared, Load&& load) {
  SoftmaxSums sums{-FLT_MAX, 0, 0};
  int v = kUnit * threadIdx.x;
  Floats<kUnit> next;
  if (v < vocab) next = load(v);
  while (v < vocab) {
    const Floats<kUnit> z = next;
    v += kUnit * kThreads;
    if (v < vocab) next = load(v);
    float most = z.at[0];
#pragma unroll
    for (int i = 1; i < kUnit; ++i) most = fmaxf(most, z.at[i]);
    if (most > sums.max) {
      const float x = power_of(sums.max, most, to_log2), e = exp2_in_range(x);
      sums = {most, sums.sum * e, (sums.weighted + sums.sum * x) * e};
    }
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      const float x = power_of(z.at[i], sums.max, to_log2), e = exp2_in_range(x);
      sums.sum += e;
      sums.weighted = fmaf(e, x, sums.weighted);
    }
  }
  return block_reduce<kThreads>(sums, reinterpret_cast<SoftmaxSums(&)[kThreads / 32]>(shared.partial),
                                [to_log2](SoftmaxSums a, SoftmaxSums b) { return join_sums(a, b, to_log2); });
}

template <int kThreads, class T>
__device__ SoftmaxSums sum_logits(const Logits<T>& row, float to_log2, SoftmaxShared& shared) {
  return sum_logits<kThreads>(row.vocab, to_log2, shared, [&](int v) { return row.load(v); });
}

__device__ inline Softmax finish_softmax(const SoftmaxSums& sums, float inverse_temperature) {
  const double log_sum = math::log(double(sums.sum));
  return {.max = sums.max,
          .inverse_temperature = inverse_temperature,
          .to_log2 = kLog2e * inverse_temperature,
          .sum = sums.sum,
          .log_sum = float(log_sum),
          .entropy = float(log_sum - double(sums.weighted) / double(sums.sum) * 0.69314718055994531)};
}

}  // namespace heed::cuda
