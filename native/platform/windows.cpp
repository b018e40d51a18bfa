#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <fcntl.h>
#include <io.h>
#include <malloc.h>
#include <sys/stat.h>
#include <windows.h>

#include <cerrno>
#include <cstring>

#include "native/platform/platform.h"

namespace heed::platform {
namespace {

std::wstring wide(const std::string& text) {
  const int size = MultiByteToWideChar(CP_UTF8, 0, text.data(), int(text.size()), nullptr, 0);
  std::wstring result(size_t(size), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.data(), int(text.size()), result.data(), size);
  return result;
}

std::string narrow(const wchar_t* text, int length) {
  const int size = WideCharToMultiByte(CP_UTF8, 0, text, length, nullptr, 0, nullptr, nullptr);
  std::string result(size_t(size), '\0');
  WideCharToMultiByte(CP_UTF8, 0, text, length, result.data(), size, nullptr, nullptr);
  return result;
}

std::string last_error() {
  wchar_t text[512];
  const DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr,
                                      GetLastError(), 0, text, 512, nullptr);
  std::string message = narrow(text, int(length));
  while (!message.empty() && (message.back() == '\n' || message.back() == '\r' || message.back() == '.'))
    message.pop_back();
  return message;
}

HMODULE module_of(const void* code, DWORD flags) {
  HMODULE module = nullptr;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | flags, reinterpret_cast<LPCWSTR>(code), &module);
  return module;
}

// A place of a file, as ReadFile and WriteFile take it.
OVERLAPPED at(int64_t offset) {
  OVERLAPPED place = {};
  place.Offset = DWORD(uint64_t(offset));
  place.OffsetHigh = DWORD(uint64_t(offset) >> 32);
  return place;
}

constexpr size_t kMost = 1u << 30;  // bytes of one call

HANDLE handle(int file) {
  return reinterpret_cast<HANDLE>(_get_osfhandle(file));
}

}  // namespace

int open_to_read(const std::string& path) {
  return _wopen(wide(path).c_str(), _O_RDONLY | _O_BINARY | _O_NOINHERIT);
}

int create(const std::string& path) {
  return _wopen(wide(path).c_str(), _O_WRONLY | _O_CREAT | _O_TRUNC | _O_BINARY | _O_NOINHERIT, _S_IREAD | _S_IWRITE);
}

int64_t read_at(int file, void* data, size_t bytes, int64_t offset) {
  OVERLAPPED place = at(offset);
  DWORD done = 0;
  if (ReadFile(handle(file), data, DWORD(bytes < kMost ? bytes : kMost), &done, &place)) return done;
  if (GetLastError() == ERROR_HANDLE_EOF) return 0;
  errno = EIO;
  return -1;
}

int64_t write_at(int file, const void* data, size_t bytes, int64_t offset) {
  OVERLAPPED place = at(offset);
  DWORD done = 0;
  if (WriteFile(handle(file), data, DWORD(bytes < kMost ? bytes : kMost), &done, &place)) return done;
  errno = GetLastError() == ERROR_DISK_FULL ? ENOSPC : EIO;
  return -1;
}

int flush(int file) {
  return _commit(file);
}

int close(int file) {
  return _close(file);
}

std::string why() {
  return std::strerror(errno);
}

Exchanged exchange(const std::string&, const std::string&) {
  return Exchanged::Unsupported;
}

void* allocate(size_t bytes, size_t alignment) {
  return _aligned_malloc(bytes, alignment);
}

void release(void* data) {
  _aligned_free(data);
}

int usable_cpus() {
  DWORD_PTR own = 0, all = 0;
  if (!GetProcessAffinityMask(GetCurrentProcess(), &own, &all)) return 0;
  int count = 0;
  for (; own != 0; own &= own - 1) ++count;
  return count;
}

WithoutSignals::WithoutSignals() : saved_{} {}  // Windows gives signals a thread of their own
WithoutSignals::~WithoutSignals() = default;

void keep_loaded(const void* code) {
  module_of(code, GET_MODULE_HANDLE_EX_FLAG_PIN);
}

std::string folder_of(const void* code) {
  wchar_t path[4096];
  const DWORD length = GetModuleFileNameW(module_of(code, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT), path, 4096);
  const std::string file = narrow(path, int(length));
  const size_t slash = file.find_last_of("\\/");
  return slash == std::string::npos ? ".\\" : file.substr(0, slash + 1);
}

void* open_library(const std::string& path, std::string& why) {
  const HMODULE library = LoadLibraryExW(wide(path).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (library == nullptr) why = last_error();
  return reinterpret_cast<void*>(library);
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

bool can_read(const std::string& path) {
  return _waccess(wide(path).c_str(), 4) == 0;
}

}  // namespace heed::platform
