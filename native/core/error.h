// The only exception type that native/ throws. Native code never prints, exits or aborts.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace heed {

// X(enumerator, code seen by JavaScript as error.code)
#define HEED_ERROR_CODES(X)                  \
  X(InvalidArgument, "ERR_INVALID_ARGUMENT") \
  X(NotFinite, "ERR_NOT_FINITE")             \
  X(OutOfMemory, "ERR_OUT_OF_MEMORY")        \
  X(Device, "ERR_DEVICE")                    \
  X(Io, "ERR_IO")                            \
  X(Communication, "ERR_COMMUNICATION")      \
  X(Aborted, "ERR_ABORTED")                  \
  X(Disposed, "ERR_DISPOSED")                \
  X(Internal, "ERR_INTERNAL")

enum class ErrorCode {
#define X(name, text) name,
  HEED_ERROR_CODES(X)
#undef X
};

constexpr const char* to_string(ErrorCode code) {
  switch (code) {
#define X(name, text)   \
  case ErrorCode::name: \
    return text;
    HEED_ERROR_CODES(X)
#undef X
  }
  return "ERR_INTERNAL";
}

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code(code) {}
  const ErrorCode code;
};

// require(x > 0, "x must be positive, got ", x);
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream message;
  (message << ... << parts);
  throw Error(ErrorCode::InvalidArgument, message.str());
}

}  // namespace heed
