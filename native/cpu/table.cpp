// The kernel table of one level.
#include "native/cpu/level.h"

#define HEED_STRING_(x) #x
#define HEED_STRING(x) HEED_STRING_(x)

namespace heed::cpu {

extern const KernelTable HEED_TABLE;
const KernelTable HEED_TABLE = {.name = HEED_STRING(HEED_LEVEL),
#define X(Op)                                                                             \
  .Op = {.run = [](Context& context, const op::Op& op) { HEED_LEVEL::run(context, op); }, \
         .need = [](const Context& context, const op::Op& op) { return HEED_LEVEL::need(context, op); }},
                                HEED_OPS(X)
#undef X
                                    .packed_floats = HEED_LEVEL::packed_floats};

}  // namespace heed::cpu
