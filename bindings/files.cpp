#include "bindings/files.h"

#include "bindings/values.h"
#include "native/platform/platform.h"

namespace heed::bindings {

Napi::Value exchange_paths(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string a = argument(info, 0, "a").text(), b = argument(info, 1, "b").text();
    const platform::Exchanged done = platform::exchange(a, b);
    if (done == platform::Exchanged::Failed)
      throw Error(ErrorCode::Io, "cannot exchange " + a + " and " + b + ": " + platform::why());
    return Napi::Boolean::New(info.Env(), done == platform::Exchanged::Yes);
  });
}

}  // namespace heed::bindings
