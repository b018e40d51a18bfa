#include "bindings/values.h"

#include <algorithm>
#include <cmath>

namespace heed::bindings {
namespace {

const char* name_of(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
      return "an Int8Array";
    case napi_uint8_array:
      return "a Uint8Array";
    case napi_uint8_clamped_array:
      return "a Uint8ClampedArray";
    case napi_int16_array:
      return "an Int16Array";
    case napi_uint16_array:
      return "a Uint16Array";
    case napi_int32_array:
      return "an Int32Array";
    case napi_uint32_array:
      return "a Uint32Array";
    case napi_float32_array:
      return "a Float32Array";
    case napi_float64_array:
      return "a Float64Array";
    case napi_bigint64_array:
      return "a BigInt64Array";
    case napi_biguint64_array:
      return "a BigUint64Array";
    default:
      return "a typed array";
  }
}

constexpr double kMaxSafeInteger = 9007199254740991.0;

// Created by the constructor, which throws if there is no memory: Node-API's own function would abort the process.
template <class T, class Array>
Napi::Value copy_out(Napi::Env env, const char* constructor, const std::vector<T>& values) {
  Array array;
  try {
    const auto make = env.Global().Get(constructor).As<Napi::Function>();
    array = make.New({Napi::Number::New(env, double(values.size()))}).template As<Array>();
  } catch (const Napi::Error&) {
    throw Error(ErrorCode::OutOfMemory, "no memory for a result of " + std::to_string(values.size()) + " numbers");
  }
  require(array.ElementLength() == values.size(), "the global ", constructor,
          " was replaced, expected JavaScript's own");
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

}  // namespace

std::string describe(const Napi::Value& value) {
  if (value.IsEmpty() || value.IsUndefined()) return "undefined";
  if (value.IsNull()) return "null";
  if (value.IsTypedArray()) return name_of(value.As<Napi::TypedArray>().TypedArrayType());
  if (value.IsArray()) return "an array";
  switch (value.Type()) {
    case napi_boolean:
      return "a boolean";
    case napi_number:
      return "a number";
    case napi_string:
      return "a string";
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_bigint:
      return "a bigint";
    default:
      return "an object of another class";
  }
}

void type_error(Napi::Env env, const std::string& message) {
  throw Napi::TypeError::New(env, message);
}

void Argument::expected(const char* what) const {
  type_error(value_.Env(), name_ + " is " + describe(value_) + ", expected " + what);
}

Argument Argument::field(const char* key) const {
  if (!value_.IsObject()) expected("an object");
  return {value_.As<Napi::Object>().Get(key), name_ + "." + key};
}

uint32_t Argument::length() const {
  if (!value_.IsArray()) expected("an array");
  return value_.As<Napi::Array>().Length();
}

Argument Argument::at(uint32_t index) const {
  return {value_.As<Napi::Array>().Get(index), name_ + "[" + std::to_string(index) + "]"};
}

double Argument::number() const {
  if (!value_.IsNumber()) expected("a number");
  return value_.As<Napi::Number>().DoubleValue();
}

int64_t Argument::integer() const {
  const double value = number();
  require(std::trunc(value) == value && std::abs(value) <= kMaxSafeInteger, name_, " is ", value,
          ", expected an integer");
  return int64_t(value);
}

bool Argument::boolean() const {
  if (!value_.IsBoolean()) expected("a boolean");
  return value_.As<Napi::Boolean>().Value();
}

std::string Argument::text() const {
  if (!value_.IsString()) expected("a string");
  return value_.As<Napi::String>().Utf8Value();
}

template <class T>
std::vector<T> Argument::array(napi_typedarray_type type, const char* what) const {
  if (!value_.IsTypedArray() || value_.As<Napi::TypedArray>().TypedArrayType() != type) expected(what);
  const auto array = value_.As<Napi::TypedArrayOf<T>>();
  const T* data = array.Data();
  if (data == nullptr) return {};  // empty, or its memory was transferred
  return {data, data + array.ElementLength()};
}

std::vector<float> Argument::floats() const {
  return array<float>(napi_float32_array, "a Float32Array");
}
std::vector<int32_t> Argument::integers() const {
  return array<int32_t>(napi_int32_array, "an Int32Array");
}
std::vector<uint8_t> Argument::bytes() const {
  return array<uint8_t>(napi_uint8_array, "a Uint8Array");
}

std::vector<double> Argument::doubles() const {
  return array<double>(napi_float64_array, "a Float64Array");
}

std::vector<std::string> Argument::texts() const {
  if (!value_.IsArray()) expected("an array");
  const auto list = value_.As<Napi::Array>();
  std::vector<std::string> values;
  for (uint32_t i = 0; i < list.Length(); ++i)
    values.push_back(Argument(list.Get(i), name_ + "[" + std::to_string(i) + "]").text());
  return values;
}

std::vector<FileTensor> Argument::file_tensors() const {
  std::vector<FileTensor> tensors;
  for (uint32_t i = 0; i < length(); ++i) {
    const Argument item = at(i);
    const std::string dtype = item.field("dtype").text();
    require(dtype == "F32" || dtype == "BF16" || dtype == "F16", item.name(), ".dtype is ", dtype,
            ", expected F32, BF16 or F16");
    const int64_t offset = item.field("offset").integer();
    require(offset >= 0, item.name(), ".offset is ", offset, ", expected 0 or more");
    tensors.push_back({item.field("name").text(),
                       dtype == "F32"    ? FileDType::kF32
                       : dtype == "BF16" ? FileDType::kBf16
                                         : FileDType::kF16,
                       offset});
  }
  return tensors;
}

HostBatch Argument::batch() const {
  return {.tokens = field("tokens").integers(),
          .cu_seqlens = field("cuSeqlens").integers(),
          .parent = field("parent").integers(),
          .rows = field("rows").integers(),
          .targets = field("targets").integers()};
}

Napi::Value to_js(Napi::Env env, const std::vector<float>& values) {
  return copy_out<float, Napi::Float32Array>(env, "Float32Array", values);
}
Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values) {
  return copy_out<int32_t, Napi::Int32Array>(env, "Int32Array", values);
}
Napi::Value to_js(Napi::Env env, double value) {
  return Napi::Number::New(env, value);
}

}  // namespace heed::bindings
