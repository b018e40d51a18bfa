#include "native/model/tensor_file.h"

#include <algorithm>
#include <cmath>

#include "native/core/bf16.h"
#include "native/core/error.h"
#include "native/core/f16.h"
#include "native/platform/platform.h"

namespace heed {
namespace {

constexpr int64_t kChunk = 1 << 20;  // elements

[[noreturn]] void fail(const std::string& verb, const std::string& path) {
  throw Error(ErrorCode::Io, "cannot " + verb + " " + path + ": " + platform::why());
}

void read_all(int file, const std::string& path, const std::string& name, void* data, int64_t bytes, int64_t offset) {
  char* p = static_cast<char*>(data);
  while (bytes > 0) {
    const int64_t n = platform::read_at(file, p, size_t(bytes), offset);
    if (n < 0) fail("read", path);
    if (n == 0)
      throw Error(ErrorCode::Io, path + " ends at byte " + std::to_string(offset) + ", inside tensor " + name);
    p += n;
    bytes -= n;
    offset += n;
  }
}

void write_all(int file, const std::string& path, const void* data, int64_t bytes, int64_t offset) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const int64_t n = platform::write_at(file, p, size_t(bytes), offset);
    if (n < 0) fail("write", path);
    p += n;
    bytes -= n;
    offset += n;
  }
}

float from_bf16(uint16_t x) {
  return to_float(bf16{x});
}
uint16_t to_bf16_bits(float x) {
  return to_bf16(x).bits;
}

// Calls f(first element, count) for each chunk of a tensor.
template <class F>
void for_chunks(const Backend& backend, int64_t size, F f) {
  for (int64_t i = 0; i < size; i += kChunk) {
    backend.check_cancelled();
    f(i, std::min(kChunk, size - i));
  }
}

int64_t size_in_file(FileDType dtype) {
  return dtype == FileDType::kF32 ? 4 : 2;
}

Tensor elements(const Tensor& t, int64_t first, int64_t count) {
  return Tensor{t.data, t.dtype, t.size(), 1}.slice(first, count);
}

}  // namespace

TensorReader::TensorReader(const std::string& path) : path_(path), file_(platform::open_to_read(path)) {
  if (file_ < 0) fail("open", path_);
}
TensorReader::~TensorReader() {
  platform::close(file_);
}

void TensorReader::read(Backend& backend, const std::vector<Tensor>& pieces, FileTensor place) {
  for (const Tensor& piece : pieces) {
    read_piece(backend, piece, place);
    place.offset += piece.size() * size_in_file(place.dtype);
  }
}

void TensorReader::read_piece(Backend& backend, const Tensor& dst, const FileTensor& place) {
  std::vector<float> values(size_t(std::min(kChunk, dst.size())));
  for_chunks(backend, dst.size(), [&](int64_t first, int64_t count) {
    read_floats(place, first, count, values.data());
    backend.upload_floats(elements(dst, first, count), values.data());
  });
}

std::vector<float> TensorReader::floats(const Backend& backend, const FileTensor& place, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for_chunks(backend, count,
             [&](int64_t first, int64_t some) { read_floats(place, first, some, values.data() + first); });
  return values;
}

void TensorReader::read_floats(const FileTensor& place, int64_t first, int64_t count, float* values) {
  const int64_t bytes = size_in_file(place.dtype), offset = place.offset + first * bytes;
  if (place.dtype == FileDType::kF32) return read_all(file_, path_, place.name, values, count * bytes, offset);
  std::vector<uint16_t> halves(static_cast<size_t>(count));
  read_all(file_, path_, place.name, halves.data(), count * bytes, offset);
  std::transform(halves.begin(), halves.end(), values, place.dtype == FileDType::kBf16 ? from_bf16 : from_f16);
}

TensorWriter::TensorWriter(const std::string& path, const std::vector<uint8_t>& prefix)
    : path_(path), file_(platform::create(path)) {
  if (file_ < 0) fail("create", path_);
  try {
    write_all(file_, path_, prefix.data(), int64_t(prefix.size()), 0);
  } catch (...) {
    platform::close(file_);
    throw;
  }
}
TensorWriter::~TensorWriter() {
  if (file_ >= 0) platform::close(file_);
}

void TensorWriter::write(Backend& backend, const std::vector<Tensor>& pieces, FileTensor place) {
  for (const Tensor& piece : pieces) {
    write_piece(backend, piece, place);
    place.offset += piece.size() * size_in_file(place.dtype);
  }
}

void TensorWriter::write_piece(Backend& backend, const Tensor& src, const FileTensor& place) {
  std::vector<float> values(size_t(std::min(kChunk, src.size())));
  std::vector<uint16_t> halves(place.dtype == FileDType::kF32 ? 0 : values.size());
  for_chunks(backend, src.size(), [&](int64_t first, int64_t count) {
    backend.download_floats(values.data(), elements(src, first, count));
    if (place.dtype == FileDType::kF16)
      for (int64_t i = 0; i < count; ++i)
        require(!std::isfinite(values[size_t(i)]) || std::fabs(values[size_t(i)]) < 65520, place.name, " holds ",
                values[size_t(i)], ", outside the range of float16");
    if (!halves.empty())
      std::transform(values.begin(), values.begin() + count, halves.begin(),
                     place.dtype == FileDType::kBf16 ? to_bf16_bits : to_f16);
    const int64_t bytes = size_in_file(place.dtype), offset = place.offset + first * bytes;
    const void* const raw = halves.empty() ? static_cast<const void*>(values.data()) : halves.data();
    write_all(file_, path_, raw, count * bytes, offset);
  });
}

void TensorWriter::finish() {
  if (platform::flush(file_) != 0) fail("flush", path_);
  const int file = file_;
  file_ = -1;
  if (platform::close(file) != 0) fail("close", path_);
}

}  // namespace heed
