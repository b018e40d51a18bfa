// What differs between operating systems, a function each: posix.cpp and windows.cpp. Paths are UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace heed::platform {

// Files: negative numbers are failures, and why() is their reason.
int open_to_read(const std::string& path);
int create(const std::string& path);                                  // empties a file that exists
int64_t read_at(int file, void* data, size_t bytes, int64_t offset);  // 0 at the end of the file
int64_t write_at(int file, const void* data, size_t bytes, int64_t offset);
int flush(int file);  // to the disk
int close(int file);
std::string why();  // of this thread's last failure

enum class Exchanged { Yes, Unsupported, Failed };
// Two names of one file system change places in one step.
Exchanged exchange(const std::string& a, const std::string& b);

// Memory with the alignment, not zeroed; null if there is none.
void* allocate(size_t bytes, size_t alignment);
void release(void* data);

// Processors that this process may run on; 0 where the system does not say.
int usable_cpus();

// While one lives, threads that are started get no signals: these are for the application's threads.
class WithoutSignals {
 public:
  WithoutSignals();
  ~WithoutSignals();
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  [[maybe_unused]] alignas(16) unsigned char saved_[128];  // Windows has nothing to save
};

// The code that an address is in stays loaded until the process ends: its threads run as long.
void keep_loaded(const void* code);
// The folder of the file that the code is in, with the separator at its end.
std::string folder_of(const void* code);

// Shared libraries, which are never closed. Null, and why, if it does not load.
void* open_library(const std::string& path, std::string& why);
void* find_symbol(void* library, const char* name);
bool can_read(const std::string& path);

}  // namespace heed::platform
