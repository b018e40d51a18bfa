#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "native/platform/platform.h"

#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#endif

namespace heed::platform {

int open_to_read(const std::string& path) {
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
}

int create(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

int64_t read_at(int file, void* data, size_t bytes, int64_t offset) {
  for (;;) {
    const ssize_t n = ::pread(file, data, bytes, off_t(offset));
    if (n >= 0 || errno != EINTR) return n;
  }
}

int64_t write_at(int file, const void* data, size_t bytes, int64_t offset) {
  for (;;) {
    const ssize_t n = ::pwrite(file, data, bytes, off_t(offset));
    if (n >= 0 || errno != EINTR) return n;
  }
}

int flush(int file) {
  return ::fsync(file);
}

int close(int file) {
  return ::close(file);
}

std::string why() {
  return std::strerror(errno);
}

Exchanged exchange(const std::string& a, const std::string& b) {
#if defined(__linux__)
  constexpr unsigned kExchange = 2;  // RENAME_EXCHANGE; not every C library has the function
  const long failed = ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), kExchange);
#elif defined(__APPLE__)
  const int failed = ::renamex_np(a.c_str(), b.c_str(), RENAME_SWAP);
#else
  errno = ENOSYS;
  const int failed = -1;
#endif
  if (failed == 0) return Exchanged::Yes;
  return errno == EINVAL || errno == ENOSYS || errno == ENOTSUP ? Exchanged::Unsupported : Exchanged::Failed;
}

void* allocate(size_t bytes, size_t alignment) {
  void* data = nullptr;
  return ::posix_memalign(&data, alignment, bytes) == 0 ? data : nullptr;
}

void release(void* data) {
  std::free(data);
}

int usable_cpus() {
#ifdef __linux__
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return 0;
}

WithoutSignals::WithoutSignals() {
  static_assert(sizeof(sigset_t) <= sizeof saved_);
  sigset_t all;
  sigfillset(&all);  // a macro on macOS
  ::pthread_sigmask(SIG_SETMASK, &all, new (saved_) sigset_t);
}

WithoutSignals::~WithoutSignals() {
  ::pthread_sigmask(SIG_SETMASK, std::launder(reinterpret_cast<sigset_t*>(saved_)), nullptr);
}

void keep_loaded(const void* code) {
  Dl_info info;
  if (::dladdr(code, &info) != 0) ::dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

std::string folder_of(const void* code) {
  Dl_info info;
  const std::string file = ::dladdr(code, &info) != 0 ? info.dli_fname : "";
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "./" : file.substr(0, slash + 1);
}

void* open_library(const std::string& path, std::string& why) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) why = ::dlerror();
  return library;
}

void* find_symbol(void* library, const char* name) {
  return ::dlsym(library, name);
}

bool can_read(const std::string& path) {
  return ::access(path.c_str(), R_OK) == 0;
}

}  // namespace heed::platform
