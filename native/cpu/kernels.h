// Kernel dispatch: every kernel source is compiled once per instruction-set level, each into its own namespace, and the
// backend calls them through the table of the level selected at load.
#pragma once

#include "native/core/bf16.h"
#include "native/cpu/pack.h"
#include "native/cpu/workspace.h"
#include "native/ops/backend.h"

namespace heed::cpu {

// What a kernel may use besides its op.
struct Context {
  int threads;      // maximum number in a parallel loop
  PackCache packs;  // packed copies of weights, for Gemm
  Scratch scratch;

  // Working memory until the next op. Throws Error(OutOfMemory).
  Workspace workspace(Need need) { return scratch.workspace(need, threads); }
};

struct KernelTable {
  const char* name;
#define X(Op)                                    \
  struct {                                       \
    void (*run)(Context&, const op::Op&);        \
    Need (*need)(const Context&, const op::Op&); \
  } Op;
  HEED_OPS(X)
#undef X
  int64_t (*packed_floats)(const op::Gemm&);  // of b
};

// The levels of this build, best first, and whether this machine supports them.
struct Level {
  const KernelTable* table;
  bool supported;
};
extern const KernelTable kTableAvx512Bf16, kTableAvx512, kTableAvx2, kTablePortable;

}  // namespace heed::cpu
