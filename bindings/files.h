#pragma once

#include <napi.h>

namespace heed::bindings {

// exchangePaths(a, b): exchanges the names of two files or folders atomically; false if the file system cannot.
Napi::Value exchange_paths(const Napi::CallbackInfo& info);

}  // namespace heed::bindings
