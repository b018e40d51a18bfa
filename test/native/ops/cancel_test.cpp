// A job can be cancelled before every op.
#include <gtest/gtest.h>

#include <atomic>

#include "test/native/device.h"

namespace heed {
namespace {

using testing::Device;

TEST(Cancel, IsSeenBeforeEveryOp) {
  cpu::CpuBackend backend(1);
  Device device(backend);
  const Tensor out = device.f32({0, 0}, 2), x = device.f32({1, 2}, 2);
  std::atomic<bool> cancelled{false};
  backend.set_cancel(&cancelled);
  backend.run(op::Add{.out = out, .a = out, .b = x});
  cancelled = true;
  try {
    backend.run(op::Add{.out = out, .a = out, .b = x});
    FAIL() << "it ran";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::Aborted);
  }
  EXPECT_EQ(device.floats(out), (std::vector<float>{1, 2}));
  backend.set_cancel(nullptr);
  backend.run(op::Add{.out = out, .a = out, .b = x});
  EXPECT_EQ(device.floats(out), (std::vector<float>{2, 4}));
}

}  // namespace
}  // namespace heed
