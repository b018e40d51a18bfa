// Drawing a token: the inverse of the cumulative distribution, in the order of token ids, over the tokens that top_k
// and top_p leave. A block to a row.
#include "native/cuda/backend.h"
#include "native/cuda/softmax.h"

namespace heed::cuda {
namespace {

// Logits as unsigned integers of the same order; of bf16 the lower half is 0, and not looked at.
template <class T>
constexpr int kKeyShift = sizeof(T) == 2 ? 16 : 0;
template <class T>
__device__ uint32_t key_of(float z) {
  const uint32_t bits = __float_as_uint(z);
  return ((bits >> 31) != 0 ? ~bits : bits | 0x80000000u) >> kKeyShift<T>;
}
template <class T>
__device__ float logit_of(uint32_t key) {
  key <<= kKeyShift<T>;
  return __uint_as_float((key >> 31) != 0 ? key & 0x7fffffffu : ~key >> kKeyShift<T> << kKeyShift<T>);
}

// The tokens still in play: those above the threshold, and of those equal to it the ones with an id below tie_end.
struct Kept {
  uint32_t threshold;
  int tie_end;
};

constexpr int kPivots = 8;
struct Weights {
  float above[kPivots];  // what the tokens above each pivot weigh
};
constexpr int kNone = 0x7fffffff;
struct Ids {
  int first, last;
};
template <int kThreads>
struct SampleShared {
  SoftmaxShared softmax;
  Weights weights[kThreads / 32];
  double sums[kThreads / 32];
  Ids ids[kThreads / 32];
};

template <class T, int kThreads>
struct Sampler {
  Logits<T> row;
  SoftmaxSums softmax;
  float to_log2;
  SampleShared<kThreads>& shared;

  template <class X, class Join>
  __device__ X reduce(const X& x, X (&partial)[kThreads / 32], Join join) {
    const X result = block_reduce<kThreads>(x, partial, join);
    __syncthreads();  // the next may use the same memory
    return result;
  }

  // The probability times the softmax's sum; 0 where that is no normal number, and of a NaN.
  __device__ float mass(float z) const {
    const float x = (z - softmax.max) * to_log2;
    return x >= -125.0f ? exp2_in_range(x) : 0.0f;
  }
  __device__ float mass_in_play(const Kept& kept, int v, float z) const {
    const uint32_t key = key_of<T>(z);
    const bool in_play = v < row.vocab && (key > kept.threshold || (key == kept.threshold && v < kept.tie_end));
    return in_play ? mass(z) : 0.0f;
  }

  // Σ weight(v, z) over one step of the block through the row: the same bits wherever it is asked for.
  template <class F>
  __device__ double step_total(int begin, F&& weight) {
    const int v = begin + kUnit * threadIdx.x;
    double sum = 0;
    if (v < row.vocab) {
      const Floats<kUnit> z = row.load(v);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) sum += double(weight(v + i, z.at[i]));
    }
    return reduce(sum, shared.sums, [](double a, double b) { return a + b; });
  }
  template <class F>
  __device__ double total(F&& weight) {
    double sum = 0;
    for (int begin = 0; begin < row.vocab; begin += kUnit * kThreads) sum += step_total(begin, weight);
    return sum;
  }

  // The first token at which the sum of weights, in the order of ids, is beyond a point below total(weight); 0 in a row
  // without weights.
  template <class F>
  __device__ int find(double point, F&& weight) {
    double before = 0;  // this thread's tokens of this step
    int begin = 0;
    for (; begin + kUnit * kThreads < row.vocab; begin += kUnit * kThreads) {
      const double sum = step_total(begin, weight);
      if (before + sum > point) break;
      before += sum;
    }
    const int v = begin + kUnit * threadIdx.x;
    float w[kUnit] = {};
    double mine = 0;
    if (v < row.vocab) {
      const Floats<kUnit> z = row.load(v);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) {
        w[i] = weight(v + i, z.at[i]);
        mine += double(w[i]);
      }
    }
    double sum = mine;  // of the lanes up to this one
    for (unsigned lanes = 1; lanes < 32; lanes *= 2) {
      const double other = __shfl_up_sync(kAllLanes, sum, lanes);
      if (threadIdx.x % 32 >= lanes) sum += other;
    }
    if (threadIdx.x % 32 == 31) shared.sums[threadIdx.x / 32] = sum;
    __syncthreads();
    for (unsigned warp = 0; warp < threadIdx.x / 32; ++warp) before += shared.sums[warp];
    before += sum - mine;
    Ids ids{kNone, -1};
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      if (!(w[i] > 0)) continue;
      before += double(w[i]);
      if (before > point && ids.first == kNone) ids.first = v + i;
      ids.last = v + i;
    }
    ids = reduce(ids, shared.ids, [](Ids a, Ids b) { return Ids{min(a.first, b.first), max(a.last, b.last)}; });
    return ids.first != kNone ? ids.first : max(ids.last, 0);
  }

  // The fewest of the most likely tokens in play that have the share `share` of their mass, or number `share`; one at
  // least. Of two keys, one with enough above it and one with too little, pivots narrow the distance ninefold a pass.
  __device__ Kept heaviest(const Kept& kept, double share, bool by_mass) {
    const auto weight = [&](int v, float z) {
      const float m = mass_in_play(kept, v, z);
      return by_mass || m == 0 ? m : 1.0f;
    };
    const double all = total(weight), target = by_mass ? share * all : share < all ? share : all;
    uint32_t low = 0, high = key_of<T>(softmax.max);
    double above_high = 0;
    while (high - low > 1) {
      uint32_t pivots[kPivots];
#pragma unroll
      for (int j = 0; j < kPivots; ++j)
        pivots[j] = low + uint32_t(uint64_t(high - low) * uint64_t(j + 1) / (kPivots + 1));
      Weights sums{};
      for (int v = kUnit * threadIdx.x; v < row.vocab; v += kUnit * kThreads) {
        const Floats<kUnit> z = row.load(v);
#pragma unroll
        for (int i = 0; i < kUnit; ++i) {
          const uint32_t key = key_of<T>(z.at[i]);
          if (key <= pivots[0]) continue;
          const float w = weight(v + i, z.at[i]);
#pragma unroll
          for (int j = 0; j < kPivots; ++j) sums.above[j] += key > pivots[j] ? w : 0.0f;
        }
      }
      sums = reduce(sums, shared.weights, [](const Weights& a, const Weights& b) {
        Weights both;
#pragma unroll
        for (int j = 0; j < kPivots; ++j) both.above[j] = a.above[j] + b.above[j];
        return both;
      });
#pragma unroll
      for (int j = 0; j < kPivots; ++j)
        if (pivots[j] < high && double(sums.above[j]) >= target) low = max(low, pivots[j]);
#pragma unroll
      for (int j = kPivots - 1; j >= 0; --j)
        if (pivots[j] > low && pivots[j] < high) {
          high = pivots[j];
          above_high = double(sums.above[j]);
        }
    }
    // Of the tokens at the border, as many as it takes, in the order of their ids.
    const double each = by_mass ? double(mass(logit_of<T>(high))) : 1.0;
    const double needed = each > 0 ? ceil((target - above_high) / each) : 1.0;
    const int end = high == kept.threshold ? kept.tie_end : row.vocab;
    const auto tie = [&](int v, float z) { return v < end && key_of<T>(z) == high ? 1.0f : 0.0f; };
    return {high, find((needed > 1 ? needed : 1.0) - 0.5, tie) + 1};
  }
};

struct Draw {
  int32_t* tokens;
  float* logprobs;
  const int32_t *seeds, *counters;
  const float* temperatures;
  const int32_t* top_k;
  const float* top_p;
};

template <class T, int kThreads>
__global__ void __launch_bounds__(kThreads) sample_kernel(const Logits<T> logits, const Draw op) {
  SampleShared<kThreads>& shared = shared_memory<SampleShared<kThreads>>();
  const Logits<T> row = logits.row(blockIdx.x);
  // The row's settings are read anew wherever one is needed: held until then they would cost registers.
  const auto inverse_temperature = [&] {
    const float temperature = op.temperatures[blockIdx.x];
    return temperature == 0 ? 1.0f : 1.0f / temperature;
  };
  const float to_log2 = kLog2e * inverse_temperature();
  const SoftmaxSums softmax = sum_logits<kThreads>(row, to_log2, shared.softmax);
  Sampler<T, kThreads> sampler{row, softmax, to_log2, shared};
  int token;
  if (op.temperatures[blockIdx.x] == 0) {
    token = sampler.find(0.5, [&](int v, float z) { return v < row.vocab && z == softmax.max ? 1.0f : 0.0f; });
  } else {
    Kept kept{0, 0};
    const int top_k = op.top_k[blockIdx.x];
    if (top_k > 0 && top_k < row.vocab) kept = sampler.heaviest(kept, double(top_k), false);
    const float top_p = op.top_p[blockIdx.x];
    if (top_p < 1) kept = sampler.heaviest(kept, double(top_p), true);
    const auto mass = [&](int v, float z) { return sampler.mass_in_play(kept, v, z); };
    const double uniform = math::sample_uniform(op.seeds + 2 * blockIdx.x, op.counters + 2 * blockIdx.x);
    token = sampler.find(uniform * sampler.total(mass), mass);
  }
  if (threadIdx.x != 0) return;
  op.tokens[blockIdx.x] = token;
  op.logprobs[blockIdx.x] = finish_softmax(softmax, inverse_temperature()).logprob(row.at(token));
}

}  // namespace

void CudaBackend::launch(const op::Sample& op) {
  const Draw draw{.tokens = op.tokens.ptr<int32_t>(),
                  .logprobs = op.logprobs.ptr<float>(),
                  .seeds = op.seeds.ptr<int32_t>(),
                  .counters = op.counters.ptr<int32_t>(),
                  .temperatures = op.temperatures.ptr<float>(),
                  .top_k = op.top_k.ptr<int32_t>(),
                  .top_p = op.top_p.ptr<float>()};
  with_type(op.logits, [&](auto like) {
    with_logits_threads(op.vocab, [&](auto threads) {
      using T = decltype(like);
      enqueue(sample_kernel<T, threads>,
              {.blocks = unsigned(op.logits.rows),
               .threads = threads,
               .shared = sizeof(SampleShared<threads>),
               .stream = stream_},
              logits_of<T>(op.logits, op.vocab), draw);
    });
  });
}

}  // namespace heed::cuda
