// Ops on CudaBackend, one by one, and on FusedBackend.
#pragma once

#include "native/cuda/fused_backend.h"
#include "test/native/device.h"
#include "test/native/reference.h"

namespace heed::testing {

using Outputs = std::vector<std::vector<float>>;

// What ops(device) returns, and how many kernels they launched, on the emulator.
template <class Backend, class Ops>
Outputs run(Ops&& ops, [[maybe_unused]] int64_t& launches) {
  Backend backend;
  Device device(backend);
#ifdef HEED_EMULATED
  launches = -emulator::launches_so_far();
  Outputs outputs = ops(device);
  launches += emulator::launches_so_far();
  return outputs;
#else
  return ops(device);
#endif
}

template <class Ops>
void expect_same_bits(Ops&& ops, [[maybe_unused]] int64_t expected_launches) {
  int64_t apart = 0, together = 0;
  const Outputs expected = run<cuda::CudaBackend>(ops, apart), fused = run<cuda::FusedBackend>(ops, together);
  ASSERT_EQ(fused.size(), expected.size());
  for (size_t i = 0; i < fused.size(); ++i) EXPECT_TRUE(equal_bits(fused[i], expected[i])) << "output " << i;
#ifdef HEED_EMULATED
  EXPECT_EQ(apart, 2);
  EXPECT_EQ(together, expected_launches);
#endif
}

}  // namespace heed::testing
