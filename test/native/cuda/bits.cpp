// cuda_bits list: names of the cases. cuda_bits write FOLDER: their outputs, one file each. cuda_bits compare FOLDER
// [PART OF A NAME]: as JSON lines, which cases give the same bits; of the others where the first difference is and how
// many there are. cuda_bits hash: a line for each output, `name hash`; cuda_bits hash FILE: which of its lines are not
// so.
#include "test/native/cuda/bits.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>

#include "native/cuda/fused_backend.h"

namespace heed::testing {

std::vector<BitsCase>& bits_cases() {
  static std::vector<BitsCase> all;
  return all;
}

namespace {

struct Output {
  Tensor shape;
  std::vector<char> bytes;
  double element(size_t i) const {
    if (shape.dtype == DType::bf16) return reinterpret_cast<const __nv_bfloat16*>(bytes.data())[i];
    if (shape.dtype == DType::f32) return reinterpret_cast<const float*>(bytes.data())[i];
    if (shape.dtype == DType::f64) return reinterpret_cast<const double*>(bytes.data())[i];
    return reinterpret_cast<const int32_t*>(bytes.data())[i];
  }
};
Output compute(const BitsCase& c) {
  cuda::FusedBackend backend;
  Device device(backend);
  const Tensor t = c.compute(device);
  Output out{t, std::vector<char>(size_t(t.bytes()))};
  backend.download(out.bytes.data(), t);
  return out;
}

// Prints one line; whether all is equal.
bool compare(const BitsCase& c, const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  const std::vector<char> golden((std::istreambuf_iterator<char>(in)), {});
  Output out;
  try {
    out = compute(c);
  } catch (const std::exception& error) {
    std::printf("{\"case\": \"%s\", \"equal\": false, \"error\": \"%s\"}\n", c.name.c_str(), error.what());
    return false;
  }
  if (golden.size() != out.bytes.size()) {
    std::printf("{\"case\": \"%s\", \"equal\": false, \"error\": \"%zu bytes expected, %zu made\"}\n", c.name.c_str(),
                golden.size(), out.bytes.size());
    return false;
  }
  const size_t count = size_t(out.shape.size()), width = out.bytes.size() / count;
  const Output expected{out.shape, golden};
  size_t differ = 0, first = 0, last = 0;
  double largest = 0;
  std::vector<char> rows(size_t(out.shape.rows)), cols(size_t(out.shape.cols));
  for (size_t i = 0; i < count; ++i) {
    if (std::memcmp(&golden[i * width], &out.bytes[i * width], width) == 0) continue;
    if (differ++ == 0) first = i;
    last = i;
    rows[i / cols.size()] = cols[i % cols.size()] = 1;
    const double d = std::abs(expected.element(i) - out.element(i)) / (std::abs(expected.element(i)) + 1e-6);
    largest = std::isnan(d) || d > largest ? d : largest;
  }
  std::printf("{\"case\": \"%s\", \"equal\": %s", c.name.c_str(), differ == 0 ? "true" : "false");
  if (differ > 0) {
    auto at = [&](size_t i) { return std::to_string(i / cols.size()) + "," + std::to_string(i % cols.size()); };
    std::printf(", \"differ\": %zu, \"of\": %zu, \"rows\": %zu, \"cols\": %zu, \"largest_relative\": \"%.3g\"", differ,
                count, size_t(std::count(rows.begin(), rows.end(), 1)), size_t(std::count(cols.begin(), cols.end(), 1)),
                largest);
    for (const size_t i : {first, last})
      std::printf(", \"%s\": \"%s: %.9g (%a) expected, %.9g (%a) made\"", i == first ? "first" : "last", at(i).c_str(),
                  expected.element(i), expected.element(i), out.element(i), out.element(i));
  }
  std::printf("}\n");
  std::fflush(stdout);
  return differ == 0;
}

// By name of the golden file, as text: FNV-1a of its bytes.
std::map<std::string, std::string> hashes() {
  std::map<std::string, std::string> all;
  for (const BitsCase& c : bits_cases()) {
    if (all.count(c.golden) > 0) continue;
    uint64_t hash = 0xcbf29ce484222325;
    for (const char byte : compute(c).bytes) hash = (hash ^ uint8_t(byte)) * 0x100000001b3;
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
    all[c.golden] = text;
  }
  return all;
}
// Prints the lines that are not as in the file; whether there are none.
bool hashes_are(const char* file) {
  std::ifstream in(file);
  std::map<std::string, std::string> expected, made = hashes();
  for (std::string name, hash; in >> name >> hash;) expected[name] = hash;
  for (const auto& [name, hash] : made)
    if (expected[name] != hash)
      std::printf("%s %s, expected \"%s\"\n", name.c_str(), hash.c_str(), expected[name].c_str());
  for (const auto& [name, hash] : expected)
    if (made.count(name) == 0) std::printf("%s is not made any more\n", name.c_str());
  return made == expected;
}

int main(int argc, char** argv) {
  if (argc > 2 && std::string(argv[1]) == "hash") return hashes_are(argv[2]) ? 0 : 1;
  if (argc > 1 && std::string(argv[1]) == "hash") {
    for (const auto& [name, hash] : hashes()) std::printf("%s %s\n", name.c_str(), hash.c_str());
    return 0;
  }
  const std::string verb = argc > 1 ? argv[1] : "", folder = argc > 2 ? argv[2] : ".", part = argc > 3 ? argv[3] : "";
  bool all_equal = true;
  for (const BitsCase& c : bits_cases()) {
    if (verb == "list") std::printf("%s\n", c.name.c_str());
    if (verb == "list" || c.name.find(part) == std::string::npos) continue;
    const std::string file = folder + "/" + c.golden;
    if (verb == "compare") {
      all_equal = compare(c, file) && all_equal;
    } else if (!std::ifstream(file).good()) {
      const Output out = compute(c);
      std::ofstream(file, std::ios::binary).write(out.bytes.data(), std::streamsize(out.bytes.size()));
    }
  }
  return all_equal ? 0 : 1;
}

}  // namespace
}  // namespace heed::testing

int main(int argc, char** argv) {
  return heed::testing::main(argc, argv);
}
