// Memory: a pass that does not fit is refused before anything changes, and all memory is freed.
#include "native/cpu/memory.h"

#include <gtest/gtest.h>

#include "test/native/model/toy.h"

namespace {

using namespace toy;

// Makes the allocation with this number fail, once.
int64_t fail_at = -1, allocations = 0;
bool count_allocation(int64_t) {
  return allocations++ != fail_at;
}
class Failing {
 public:
  explicit Failing(int64_t at) {
    fail_at = at;
    allocations = 0;
    cpu::allow_allocation = count_allocation;
  }
  ~Failing() { cpu::allow_allocation = nullptr; }
};

struct Outcome {
  std::vector<float> row_loss, parameters, logprobs;
  std::vector<int32_t> tokens;
  int64_t steps = 0;
  Usage usage;
};

// Repeats a call that does not fit: the result must not differ.
template <class F>
auto retried(F f) {
  try {
    return f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::OutOfMemory) << error.what();
    return f();
  }
}

// Two training steps and a generation.
Outcome train_and_generate(DType dtype) {
  const auto e = engine(2, 64, dtype);
  const ModelConfig c = config(0);
  const auto m = retried([&] { return model(e, c); });
  const HostBatch batch = pack(trees(4, 2, 37, 3), true, false);
  const auto trainer = retried([&] { return std::make_unique<Trainer>(m, TrainerOptions{}); });
  Outcome out;
  for (int step = 0; step < 2; ++step) {
    out.row_loss = retried([&] { return trainer->sft(batch, 0.1f, 0); }).row_loss;
    retried([&] { return trainer->set_aside(); });
    retried([&] { return trainer->sft(batch, 0.1f, 0); });
    retried([&] { return trainer->step({.learning_rate = 0.01f, .max_grad_norm = 1}); });
  }
  const GeneratorOptions options{.slots = 2, .max_length = 30};
  const auto generator = retried([&] { return std::make_unique<Generator>(m, options); });
  StartRequest q = two_samples();
  q.sampling = {{.temperature = 1, .top_k = 5, .top_p = 0.9f, .stop_tokens = {}}};
  const auto add = [&](const Decoded& d) {
    out.tokens.insert(out.tokens.end(), d.tokens.begin(), d.tokens.end());
    out.logprobs.insert(out.logprobs.end(), d.logprobs.begin(), d.logprobs.end());
  };
  add(retried([&] { return generator->start(q); }));
  add(retried([&] { return generator->run(8, q.slots); }));
  for (const ParameterInfo& p : m->parameters()) {
    const std::vector<float> values = m->parameter(p.name);
    out.parameters.insert(out.parameters.end(), values.begin(), values.end());
  }
  out.steps = trainer->steps();
  out.usage = e->usage();
  return out;
}

class Memory : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(, Memory, testing::Values(DType::f32, DType::bf16));

TEST_P(Memory, AnyAllocationMayFailOnceAndNothingChanged) {
  const int64_t before = cpu::allocated_bytes;
  int64_t count = 0;
  Outcome expected;
  {
    const Failing none(-1);
    expected = train_and_generate(GetParam());
    count = allocations;
  }
  EXPECT_GT(count, 20);
  for (int64_t at = 0; at < count; ++at) {
    const Failing one(at);
    const Outcome actual = train_and_generate(GetParam());
    EXPECT_GT(allocations, count) << "allocation " << at << " did not fail";
    EXPECT_EQ(actual.row_loss, expected.row_loss) << "allocation " << at;
    EXPECT_EQ(actual.parameters, expected.parameters) << "allocation " << at;
    EXPECT_EQ(actual.tokens, expected.tokens) << "allocation " << at;
    EXPECT_EQ(actual.logprobs, expected.logprobs) << "allocation " << at;
    EXPECT_EQ(actual.steps, 2) << "allocation " << at;
    EXPECT_EQ(actual.usage.arena_bytes, expected.usage.arena_bytes) << "allocation " << at;
    EXPECT_EQ(actual.usage.packed_bytes, expected.usage.packed_bytes) << "allocation " << at;
  }
  EXPECT_EQ(cpu::allocated_bytes, before) << "an engine gives back all its memory";
}

// The usage includes every byte of the backend: parameters, optimizer, cache, activations, scratch and packed weights.
TEST_P(Memory, UsageIsWhatIsAllocated) {
  const int64_t before = cpu::allocated_bytes;
  const auto e = engine(2, 64, GetParam());
  const auto m = model(e, config(1));
  Trainer trainer(m, {});
  trainer.sft(pack(trees(4, 2, 37, 3), true, false), 0.1f, 0);
  Generator generator(m, {.slots = 2, .max_length = 30});
  const Usage u = e->usage();
  EXPECT_EQ(cpu::allocated_bytes - before,
            u.parameter_bytes + u.optimizer_bytes + u.cache_bytes + u.arena_bytes + u.packed_bytes);
  EXPECT_GT(u.packed_bytes, 0);
}

// A pass allocates all its memory before it begins, so that it cannot fail later.
TEST_P(Memory, APassAllocatesNothingOnceItRuns) {
  const auto e = engine(2, 64, GetParam());
  const auto m = model(e, config(1));
  const HostBatch batch = pack(trees(4, 2, 37, 3), true, false);
  int64_t at_start = -1;
  const Failing none(-1);
  for (const HostBatch::Pass& part : batch.split(m->config(), 64, true))
    e->run([&](Backend& b, Arena& arena) {
      if (!b.measuring()) at_start = allocations;
      const Batch device = upload(b, arena, batch, part);
      const PassContext pass{b, arena, *m, device};
      const TrunkActs acts = trunk_forward(pass, true);
      language_head_forward(pass, acts.out(), device.rows);
      if (!b.measuring()) {
        EXPECT_EQ(allocations, at_start);
      }
    });
  EXPECT_GT(at_start, 0);
}

}  // namespace
