#include "native/cpu/workspace.h"

#include "native/cpu/memory.h"
#include "native/cpu/pool.h"

namespace heed::cpu {

Scratch::~Scratch() {
  if (data_ != nullptr) free_memory(data_, bytes_);
}

Workspace Scratch::workspace(Need need, int threads) {
  const int64_t shared = round_up(need.shared, 16), own = round_up(need.own, 16);
  const int64_t bytes = (shared + threads * own) * int64_t(sizeof(float));
  if (bytes > bytes_) {
    if (data_ != nullptr) free_memory(data_, bytes_);  // freed first: both at once may not fit
    data_ = nullptr;
    bytes_ = 0;
    data_ = static_cast<float*>(allocate_memory(bytes));
    bytes_ = bytes;
  }
  return {.shared = data_, .first_own = data_ + shared, .own_stride = own};
}

float* Workspace::own() const {
  return first_own + worker_index() * own_stride;
}

}  // namespace heed::cpu
