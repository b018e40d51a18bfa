// Backend::repeat: what changes between two steps is in memory, what is recorded is done again, errors leave nothing
// behind.
#include "test/native/device.h"

namespace {

using namespace heed;
using heed::testing::Device;

struct Steps : ::testing::Test {
  cuda::CudaBackend backend;
  Device device{backend};
  RepeatedSteps steps{backend};
  Tensor x = device.f32({1, 2, 3, 4, 5, 6}, 3, 2), rows = device.i32({0, 2}, 2), out = device.nan(2, 2);

  bool gather(const StepKey& key) {
    return backend.repeat(key, [&] { backend.run(op::GatherRows{.out = out, .x = x, .rows = rows}); });
  }
  void set_rows(int32_t a, int32_t b) {
    const int32_t values[] = {a, b};
    backend.upload(rows, values);
  }
};

TEST_F(Steps, AreRecordedTheSecondTimeAndReadMemoryAnew) {
  const StepKey key = steps.key(x.data, 2);
  EXPECT_TRUE(gather(key));
  EXPECT_EQ(device.floats(out), (std::vector<float>{1, 2, 5, 6}));
  set_rows(1, 1);
  EXPECT_TRUE(gather(key));
  EXPECT_EQ(device.floats(out), (std::vector<float>{3, 4, 3, 4}));
  set_rows(2, 0);
  EXPECT_FALSE(gather(key));
  EXPECT_EQ(device.floats(out), (std::vector<float>{5, 6, 1, 2}));
  EXPECT_TRUE(gather(steps.key(x.data, 3)));
  EXPECT_TRUE(gather(steps.key(out.data, 2)));
  EXPECT_TRUE(gather(RepeatedSteps(backend).key(x.data, 2)));
  EXPECT_FALSE(gather(key));
}

// The mistake that replaying makes possible, which therefore must not pass for right.
TEST_F(Steps, KeepWhatWasPassedByValue) {
  const Tensor target = device.f32({0}, 1), source = device.f32({1}, 1);
  const auto lerp = [&](float weight) {
    backend.repeat(steps.key(target.data, 1),
                   [&] { backend.run(op::Lerp{.out = target, .x = source, .weight = weight}); });
    return device.floats(target)[0];
  };
  EXPECT_EQ(lerp(0.5f), 0.5f);
  EXPECT_EQ(lerp(0.5f), 0.75f);
  EXPECT_EQ(lerp(0), 0.875f);
}

TEST_F(Steps, AreForgottenWithTheirOwnerAndWhenTheWorkingMemoryMoves) {
  StepKey key;
  {
    const RepeatedSteps others(backend);
    key = others.key(x.data, 2);
    gather(key);
    gather(key);
    EXPECT_FALSE(gather(key));
  }
  EXPECT_TRUE(gather(key));
  EXPECT_TRUE(gather(key));
  EXPECT_FALSE(gather(key));
  backend.run(op::SquaredNorm{.sum = device.nan(1, 1, DType::f64), .x = x});
  EXPECT_TRUE(gather(key));
}

TEST_F(Steps, AtMost64AreKept) {
  const auto twice = [&](int64_t rows) {
    gather(steps.key(x.data, rows));
    gather(steps.key(x.data, rows));
  };
  for (int64_t i = 0; i < 65; ++i) twice(i);
  EXPECT_FALSE(gather(steps.key(x.data, 64)));
  EXPECT_FALSE(gather(steps.key(x.data, 1)));
  EXPECT_TRUE(gather(steps.key(x.data, 0)));
}

TEST_F(Steps, FailLikeOtherOps) {
  const StepKey key = steps.key(x.data, 2);
  gather(key);
  // an op's own check, and a call that a recording does not allow
  EXPECT_THROW(backend.repeat(key, [&] { backend.run(op::GatherRows{.out = out, .x = x, .rows = x}); }), Error);
  try {
    backend.repeat(key, [&] { set_rows(1, 0); });
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code, ErrorCode::Device);
  }
  set_rows(0, 1);
  EXPECT_TRUE(gather(key));
  EXPECT_FALSE(gather(key));
  EXPECT_EQ(device.floats(out), (std::vector<float>{1, 2, 3, 4}));
  const std::atomic<bool> cancelled{true};
  backend.set_cancel(&cancelled);
  EXPECT_THROW(gather(key), Error);
}

}  // namespace
