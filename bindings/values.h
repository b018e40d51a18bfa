// Conversion of JavaScript values. Reading an argument gives a value or throws an exception that names the argument.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bindings/compute_thread.h"
#include "native/core/error.h"
#include "native/model/batch.h"
#include "native/model/tensor_file.h"

namespace heed::bindings {

// Runs a method's body; turns C++ exceptions into JavaScript exceptions.
template <class Body>
auto guarded(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_js_error(env, std::current_exception());
  }
}

std::string describe(const Napi::Value& value);  // "a string", "null", "a Float32Array"
[[noreturn]] void type_error(Napi::Env env, const std::string& message);

// A value and its name in messages.
class Argument {
 public:
  Argument(const Napi::Value& value, std::string name) : value_(value), name_(std::move(name)) {}

  Argument field(const char* key) const;  // this must be an object
  uint32_t length() const;                // this must be an array
  Argument at(uint32_t index) const;
  double number() const;
  int64_t integer() const;
  bool boolean() const;
  std::string text() const;
  std::vector<std::string> texts() const;
  std::vector<double> doubles() const;
  std::vector<float> floats() const;
  std::vector<int32_t> integers() const;
  std::vector<uint8_t> bytes() const;
  std::vector<FileTensor> file_tensors() const;
  HostBatch batch() const;
  const Napi::Value& value() const { return value_; }
  const std::string& name() const { return name_; }

 private:
  [[noreturn]] void expected(const char* what) const;
  template <class T>
  std::vector<T> array(napi_typedarray_type type, const char* what) const;

  Napi::Value value_;
  std::string name_;
};

inline Argument argument(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return {info[index], name};
}

// The C++ object of a JavaScript object of this addon. Every class has its own tag, so that other objects are refused
// rather than misread.
template <class Class>
bool is(const Napi::Value& value) {
  return value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&Class::kTag);
}
template <class Class>
Class& unwrap(const Argument& argument) {
  const Napi::Value& value = argument.value();
  if (!is<Class>(value))
    type_error(value.Env(), argument.name() + " is " + describe(value) + ", expected " + Class::kArticle);
  return *Class::Unwrap(value.As<Napi::Object>());
}

Napi::Value to_js(Napi::Env env, const std::vector<float>& values);
Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values);
Napi::Value to_js(Napi::Env env, double value);

}  // namespace heed::bindings
