// Reads and writes tensors at given offsets of a file. TypeScript handles the header.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "native/ops/backend.h"

namespace heed {

enum class FileDType { kF32, kBf16, kF16 };

struct FileTensor {
  std::string name;
  FileDType dtype;  // in the file
  int64_t offset;   // from the start of the file, bytes
};

// Reads and writes rows of f32 tensors. A cancelled job stops within a tensor.
class TensorReader {
 public:
  explicit TensorReader(const std::string& path);  // throws Error(Io)
  ~TensorReader();
  TensorReader(const TensorReader&) = delete;
  TensorReader& operator=(const TensorReader&) = delete;
  // pieces: one after the other in the file
  void read(Backend& backend, const std::vector<Tensor>& pieces, FileTensor place);
  // The first values of a tensor.
  std::vector<float> floats(const Backend& backend, const FileTensor& place, int64_t count);

 private:
  void read_piece(Backend& backend, const Tensor& dst, const FileTensor& place);
  void read_floats(const FileTensor& place, int64_t first, int64_t count, float* values);

  std::string path_;
  int file_;
};

// Creates the file under a temporary name: callers rename it when it is complete.
class TensorWriter {
 public:
  TensorWriter(const std::string& path, const std::vector<uint8_t>& prefix);
  ~TensorWriter();
  TensorWriter(const TensorWriter&) = delete;
  TensorWriter& operator=(const TensorWriter&) = delete;
  void write(Backend& backend, const std::vector<Tensor>& pieces, FileTensor place);
  void finish();  // flushes to disk

 private:
  void write_piece(Backend& backend, const Tensor& src, const FileTensor& place);

  std::string path_;
  int file_;
};

}  // namespace heed
