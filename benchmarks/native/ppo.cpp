// The fused PPO policy loss and the cross-entropy, forward and backward in place, over 4096 rows of logits.
// Prints {name, rows, vocab, level, threads, ms, best_ms, bytes, gb_per_s, limits}: the bytes counted are one read and
// one write of the logits, and the limit is a plain pass that reads and writes them too (x *= 1), in its best round.
// Each timed call runs on fresh logits, copied outside the timing.
#include <cstring>

#include "benchmarks/native/bench.h"
#include "native/cpu/pool.h"

namespace {

using namespace heed;

constexpr int64_t kRows = 4096;
constexpr float kScale = 1.0f / float(kRows), kEntropyCoef = 0.01f;

struct Batch {
  int64_t vocab, padded;
  std::vector<float> logits, old_logprobs, advantages;
  std::vector<int32_t> targets;
};

// log-probability of the target and entropy of a row, in double precision.
struct Reference {
  double logprob, entropy, log_sum;
};
Reference reference(const Batch& batch, int64_t r) {
  const float* z = &batch.logits[size_t(r * batch.padded)];
  double sum = 0, mean = 0;
  for (int64_t v = 0; v < batch.vocab; ++v) {
    sum += std::exp(double(z[v]));
    mean += std::exp(double(z[v])) * double(z[v]);
  }
  const double log_sum = std::log(sum);
  return {z[batch.targets[size_t(r)]] - log_sum, log_sum - mean / sum, log_sum};
}

// Logits repeat after some rows: random numbers are slow to make, and no kernel can tell.
Batch random_batch(int64_t vocab) {
  const int64_t padded = (vocab + 63) / 64 * 64, distinct = 67;
  Batch batch{vocab, padded, {}, {}, bench::random_normal(kRows, 3), {}};
  const std::vector<float> z = bench::random_normal(distinct * padded, 1), drift = bench::random_normal(kRows, 2);
  batch.logits.resize(size_t(kRows * padded));
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < padded; ++v)
      batch.logits[size_t(r * padded + v)] = 4 * z[size_t(r % distinct * padded + v)];
    batch.targets.push_back(int32_t((r * 7919) % vocab));
  }
  std::vector<Reference> rows;
  for (int64_t r = 0; r < kRows; ++r) {
    const bool sampled = r % 512 == 0;  // the rows that are checked
    batch.old_logprobs.push_back(float((sampled ? reference(batch, r).logprob : -10) + 0.1 * drift[size_t(r)]));
  }
  return batch;
}

void require_close(const char* what, double actual, double expected, double tolerance) {
  require(std::fabs(actual - expected) <= tolerance, what, " is ", actual, ", expected ", expected);
}

// The sampled rows of a result against double precision. dlogprob is d loss / d logprob, entropy_coef that of the loss.
void check_row(const Batch& batch, const float* gradient, int64_t r, double dlogprob, double entropy_coef) {
  const Reference row = reference(batch, r);
  const float* z = &batch.logits[size_t(r * batch.padded)];
  double difference = 0, norm = 0;
  for (int64_t v = 0; v < batch.padded; ++v) {
    const double logp = z[v] - row.log_sum, p = v < batch.vocab ? std::exp(logp) : 0;
    const double expected = kScale * (dlogprob * ((v == batch.targets[size_t(r)]) - p) +
                                      (p > 0 ? entropy_coef * p * (logp + row.entropy) : 0));
    difference += std::pow(gradient[v] - expected, 2);
    norm += expected * expected;
  }
  require_close("relative error of a row's gradient", std::sqrt(difference / (norm + 1e-30)), 0, 1e-5);
}

class Case {
 public:
  Case(cpu::CpuBackend& backend, const Batch& batch) : backend_(backend), batch_(batch) {
    logits_ = put(batch.logits.data(), DType::f32, kRows, batch.padded);
    fresh_ = put(batch.logits.data(), DType::f32, kRows, batch.padded);
    targets_ = put(batch.targets.data(), DType::i32, kRows, 1);
    old_logprobs_ = put(batch.old_logprobs.data(), DType::f32, kRows, 1);
    advantages_ = put(batch.advantages.data(), DType::f32, kRows, 1);
    const std::vector<float> zero(size_t(kRows * op::kNumPolicyStats));
    stats_ = put(zero.data(), DType::f32, kRows, op::kNumPolicyStats);
    row_loss_ = put(zero.data(), DType::f32, kRows, 1);
  }

  void policy(float entropy_coef) {
    backend_.run(op::PpoPolicyLoss{.logits = logits_,
                                   .row_stats = stats_,
                                   .targets = targets_,
                                   .old_logprobs = old_logprobs_,
                                   .advantages = advantages_,
                                   .vocab = batch_.vocab,
                                   .clip_range = 0.2f,
                                   .dual_clip = 0,
                                   .entropy_coef = entropy_coef,
                                   .temperature = 1,
                                   .scale = kScale});
  }
  void cross_entropy() {
    backend_.run(op::CrossEntropyLoss{
        .logits = logits_, .row_loss = row_loss_, .targets = targets_, .vocab = batch_.vocab, .scale = kScale});
  }
  // What the memory allows: every logit read and written once, by rows as the losses do.
  void pass() {
    float* z = logits_.ptr<float>();
    const int64_t cols = logits_.cols;
    const float factor = factor_;  // read once: a volatile in the loop would make it a loop of single floats
    cpu::parallel_for(backend_.threads(), kRows, [&](int64_t r) {
      for (int64_t i = r * cols; i < (r + 1) * cols; ++i) z[i] *= factor;
    });
  }
  void reset() { backend_.copy(logits_, fresh_); }

  void check() {
    for (const float entropy_coef : {0.0f, kEntropyCoef}) {
      reset();
      policy(entropy_coef);
      const float* stats = stats_.ptr<float>();
      for (int64_t r = 0; r < kRows; r += 512) {
        const Reference expected = reference(batch_, r);
        const float* row = stats + r * op::kNumPolicyStats;
        require_close("logprob", row[op::kPolicyLogprob], expected.logprob, 1e-5);
        require_close("entropy", row[op::kPolicyEntropy], expected.entropy, 1e-5);
        const double ratio = std::exp(expected.logprob - batch_.old_logprobs[size_t(r)]),
                     advantage = batch_.advantages[size_t(r)];
        const bool clipped = advantage > 0 ? ratio > 1.2 : ratio < 0.8;
        require_close("ratio", row[op::kPolicyRatio], ratio, 1e-5);
        require_close("clipped", row[op::kPolicyClipped], clipped, 0);
        check_row(batch_, logits_.ptr<float>() + r * batch_.padded, r, clipped ? 0 : -advantage * ratio, entropy_coef);
      }
    }
    reset();
    cross_entropy();
    for (int64_t r = 0; r < kRows; r += 512) {
      require_close("row_loss", row_loss_.ptr<float>()[r], -reference(batch_, r).logprob, 1e-5);
      check_row(batch_, logits_.ptr<float>() + r * batch_.padded, r, -1, 0);
    }
  }

 private:
  Tensor put(const void* data, DType dtype, int64_t rows, int64_t cols) {
    Tensor t{nullptr, dtype, rows, cols};
    buffers_.emplace_back(backend_, t.bytes());
    t.data = buffers_.back().data();
    backend_.upload(t, data);
    return t;
  }

  cpu::CpuBackend& backend_;
  const Batch& batch_;
  std::vector<Buffer> buffers_;
  Tensor logits_, fresh_, targets_, old_logprobs_, advantages_, stats_, row_loss_;
  volatile float factor_ = 1;
};

// ppo [rounds] [level] [threads] [vocab]
void run(int rounds, const std::string& level, int threads, int64_t wanted) {
  cpu::CpuBackend backend(threads, level);
  for (const int64_t vocab : {50257, 4096}) {
    if (wanted != 0 && wanted != vocab) continue;
    const Batch batch = random_batch(vocab);
    Case c(backend, batch);
    c.check();
    // Interleaved, so that what else the machine does meets all of them.
    const char* names[] = {"pass over logits", "ppo policy loss", "ppo policy loss with entropy", "cross-entropy loss"};
    std::vector<double> times[4];
    for (int round = 0; round < rounds; ++round)
      for (int i = 0; i < 4; ++i) {
        c.reset();
        const double start = bench::now();
        if (i == 0) c.pass();
        if (i == 1) c.policy(0);
        if (i == 2) c.policy(kEntropyCoef);
        if (i == 3) c.cross_entropy();
        times[i].push_back(bench::now() - start);
      }
    const double bytes = 2 * 4 * double(kRows * batch.padded),
                 limit = bytes / *std::min_element(times[0].begin(), times[0].end()) / 1e9;
    for (int i = 0; i < 4; ++i) {
      const double seconds = bench::median(times[i]), best = *std::min_element(times[i].begin(), times[i].end());
      std::printf(
          "{\"name\":\"%s\",\"rows\":%lld,\"vocab\":%lld,\"level\":\"%s\",\"threads\":%d,\"ms\":%.2f,\"best_ms\":%.2f,"
          "\"bytes\":%.0f,\"gb_per_s\":%.1f,\"limits\":{\"gb_per_s\":%.1f}}\n",
          names[i], (long long)kRows, (long long)vocab, backend.name() + 4, backend.threads(), seconds * 1e3,
          best * 1e3, bytes, bytes / seconds / 1e9, limit);
      std::fflush(stdout);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? std::atoi(argv[1]) : 9, argc > 2 ? argv[2] : "", argc > 3 ? std::atoi(argv[3]) : 0,
        argc > 4 ? std::atoll(argv[4]) : 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
