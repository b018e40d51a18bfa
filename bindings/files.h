#pragma once

#include <napi.h>

namespace heed::bindings {

// exchangePaths(a, b): two files or folders swap their names in one step. false where the file system cannot.
Napi::Value exchange_paths(const Napi::CallbackInfo& info);

}  // namespace heed::bindings
