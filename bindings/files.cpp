#include "bindings/files.h"

#include <fcntl.h>
#include <stdio.h>

#include <cerrno>
#include <cstring>

#include "bindings/values.h"

namespace heed::bindings {

Napi::Value exchange_paths(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string a = argument(info, 0, "a").text(), b = argument(info, 1, "b").text();
    if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0)
      return Napi::Boolean::New(info.Env(), true);
    if (errno == EINVAL || errno == ENOSYS) return Napi::Boolean::New(info.Env(), false);
    throw Error(ErrorCode::Io, "cannot exchange " + a + " and " + b + ": " + std::strerror(errno));
  });
}

}  // namespace heed::bindings
