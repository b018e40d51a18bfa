// Fixed cases whose outputs a device must reproduce bit for bit. The emulator writes them, a device compares.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "test/native/device.h"

namespace heed::testing {

struct BitsCase {
  std::string name;    // of the case
  std::string golden;  // of the file with its output: cases that must agree share one
  std::function<Tensor(Device&)> compute;
};
std::vector<BitsCase>& bits_cases();
// namespace { const AddBits kX({...}); } in a bits_*.cpp
struct AddBits {
  explicit AddBits(std::vector<BitsCase> cases) {
    for (BitsCase& c : cases) bits_cases().push_back(std::move(c));
  }
};

}  // namespace heed::testing
