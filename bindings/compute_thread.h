// One thread per engine runs every native job, in the order they were submitted.
//
// Why not libuv's pool (Napi::AsyncWorker): jobs run in program order without locks, with one arena; a device is used
// only by the thread that opened it; and the application's file and DNS operations never wait for a training step.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "bindings/resource.h"
#include "native/engine.h"

namespace heed::bindings {

// Any native exception as a JavaScript Error with a `code`.
Napi::Error to_js_error(Napi::Env env, std::exception_ptr error);

// Closures passed to it must not own a Napi::Reference: they may be destroyed on the compute thread.
class ComputeThread : public std::enable_shared_from_this<ComputeThread> {
 public:
  using Work = std::function<void()>;                    // on the compute thread; may throw; no Napi
  using Result = std::function<Napi::Value(Napi::Env)>;  // on the JavaScript thread, after work succeeded

  static std::shared_ptr<ComputeThread> create(Napi::Env env, std::shared_ptr<heed::Engine> engine);
  ~ComputeThread();

  // The following are for the JavaScript thread only.

  // Returns { promise, cancel() }; throws Error(Disposed) after close().
  Napi::Object submit(Napi::Env env, Work work, Result result);
  // Work without a promise, which frees what a collected object owned. Runs after all jobs submitted before.
  void post(Work work) noexcept;
  // Cancels queued and running jobs, refuses new ones, and returns a promise of the end. Does not wait.
  Napi::Promise close(Napi::Env env);

  bool closed() const { return closed_; }
  // Both throw Error(Disposed) after close().
  heed::Engine& engine() const { return *shared_engine(); }
  const std::shared_ptr<heed::Engine>& shared_engine() const;
  // Parent of every resource of the engine.
  const std::shared_ptr<ResourceBase>& root() const { return root_; }

 private:
  struct Job {
    Work work;
    Result result;
    std::optional<Napi::Promise::Deferred> deferred{};  // none: posted
    std::atomic<bool> cancelled{false};
    std::atomic<bool> disposed{false};
    std::exception_ptr error{};
  };
  using JobPointer = std::shared_ptr<Job>;

  static void settle(Napi::Env env, Napi::Function, ComputeThread* self, JobPointer* boxed);
  using Settle = Napi::TypedThreadSafeFunction<ComputeThread, JobPointer, settle>;
  static void on_exit(void* self);

  ComputeThread(Napi::Env env, std::shared_ptr<heed::Engine> engine);
  void start();
  void begin_close(JobPointer last);
  void join();
  void loop();
  void execute(Job& job);
  void deliver(JobPointer job);
  void cancel(const JobPointer& job);
  void retain(Napi::Env env);
  void account(Napi::Env env);

  const napi_env env_;
  std::shared_ptr<heed::Engine> engine_;  // released by the compute thread when closed
  const std::shared_ptr<ResourceBase> root_ = std::make_shared<ResourceBase>();
  Settle settle_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<JobPointer> queue_;
  JobPointer running_;
  JobPointer last_;    // settled when everything is released
  std::string fault_;  // of the device: no job runs after it. The compute thread's
  bool closing_ = false;
  bool ended_ = false;  // the thread accepts no more work

  // JavaScript thread only
  bool closed_ = false, exited_ = false;
  int pending_ = 0;                      // promises that are not settled yet
  std::shared_ptr<ComputeThread> keep_;  // this, while there are any, for settle()
  int64_t reported_bytes_ = 0;           // reported to V8

  std::thread thread_;  // last: joined before anything its jobs touch is destroyed
};

}  // namespace heed::bindings
