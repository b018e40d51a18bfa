// The door of a backend that lives in a shared library of its own and is opened at run time (native/factory.cpp).
//
// extern "C", so that it is found by name:
//   uint64_t heed_cuda_door() noexcept                           kDoor, as the module was compiled with it
//   heed::Backend* heed_cuda_open(char* why, size_t size) noexcept   null, and a sentence in why, if there is no
//   backend
#pragma once

#include "native/ops/backend.h"

namespace heed {

// Of everything that both sides must agree on: the op table, and with it the virtual functions of Backend; the sizes
// and fields of the ops. Raise the number with any other change of what crosses the door.
constexpr uint64_t door() {
  uint64_t hash = 14695981039346656037u + 1;
  const auto add = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
#define X(Op)                                                \
  for (const char* c = #Op; *c != 0; ++c) add(uint64_t(*c)); \
  add(sizeof(op::Op));                                       \
  add(op::fields::count<op::Op>());
  HEED_OPS(X)
#undef X
  add(sizeof(Tensor));
  add(sizeof(Backend));
  return hash;
}
inline constexpr uint64_t kDoor = door();

using ModuleDoor = uint64_t (*)();
using ModuleOpen = Backend* (*)(char* why, size_t size);

}  // namespace heed
