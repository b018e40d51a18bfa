#include "bindings/compute_thread.h"

#include <algorithm>
#include <system_error>

#include "native/platform/platform.h"

namespace heed::bindings {
namespace {

constexpr const char* kDisposed = "the engine is disposed";

int64_t total_bytes(const Usage& u) {
  return u.parameter_bytes + u.optimizer_bytes + u.cache_bytes + u.arena_bytes + u.packed_bytes;
}

}  // namespace

Napi::Error to_js_error(Napi::Env env, std::exception_ptr error) {
  ErrorCode code = ErrorCode::Internal;
  std::string message;
  try {
    std::rethrow_exception(error);
  } catch (const heed::Error& e) {
    code = e.code;
    message = e.what();
  } catch (const std::bad_alloc&) {
    code = ErrorCode::OutOfMemory;
    message = "out of host memory";
  } catch (const std::length_error&) {
    code = ErrorCode::OutOfMemory;
    message = "out of host memory: an array would be too long";
  } catch (const std::exception& e) {
    message = e.what();
  } catch (...) {
    message = "unknown native exception";
  }
  Napi::Error js = Napi::Error::New(env, message);
  js.Set("code", Napi::String::New(env, to_string(code)));
  return js;
}

std::shared_ptr<ComputeThread> ComputeThread::create(Napi::Env env, std::shared_ptr<heed::Engine> engine) {
  std::shared_ptr<ComputeThread> self(new ComputeThread(env, std::move(engine)));
  self->start();
  return self;
}

ComputeThread::ComputeThread(Napi::Env env, std::shared_ptr<heed::Engine> engine)
    : env_(env), engine_(std::move(engine)), settle_(Settle::New(env, "heed", 0, 1, this)) {
  settle_.Unref(env);  // an idle engine must not keep the process alive
}

void ComputeThread::start() {
  try {
    const platform::WithoutSignals none;
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error& e) {
    closed_ = ended_ = true;
    settle_.Release();
    throw Error(ErrorCode::OutOfMemory, std::string("cannot start the compute thread: ") + e.what());
  }
  // Node runs hooks in reverse order: this one is added after settle_ was created, so on_exit() runs while settle_
  // exists.
  napi_add_env_cleanup_hook(env_, on_exit, this);
}

ComputeThread::~ComputeThread() {
  if (exited_ || !thread_.joinable()) return;
  begin_close(nullptr);
  join();
  napi_remove_env_cleanup_hook(env_, on_exit, this);
  int64_t ignored;
  napi_adjust_external_memory(env_, -reported_bytes_, &ignored);
}

void ComputeThread::on_exit(void* self) {
  auto* thread = static_cast<ComputeThread*>(self);
  thread->begin_close(nullptr);
  thread->join();
  thread->exited_ = true;
  const auto last_reference = std::move(thread->keep_);
}

const std::shared_ptr<heed::Engine>& ComputeThread::shared_engine() const {
  if (closed_) throw Error(ErrorCode::Disposed, kDisposed);
  return engine_;
}

Napi::Object ComputeThread::submit(Napi::Env env, Work work, Result result) {
  if (closed_) throw Error(ErrorCode::Disposed, kDisposed);
  const auto job = std::make_shared<Job>();
  job->work = std::move(work);
  job->result = std::move(result);
  job->deferred = Napi::Promise::Deferred::New(env);

  Napi::Object handle = Napi::Object::New(env);
  handle.Set("promise", job->deferred->Promise());
  handle.Set("cancel", Napi::Function::New(env, [weak = weak_from_this(), job](const Napi::CallbackInfo&) {
               job->cancelled = true;
               if (const auto self = weak.lock()) self->cancel(job);
             }));
  retain(env);
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(job);
  }
  wake_.notify_one();
  return handle;
}

void ComputeThread::post(Work work) noexcept {
  try {
    auto job = std::make_shared<Job>();
    job->work = std::move(work);
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;  // the resources are already destroyed
      queue_.push_back(std::move(job));
    }
    wake_.notify_one();
  } catch (...) {
    // No memory for the queue entry: the object is destroyed with the engine instead.
  }
}

// A job that has not started is removed from the queue and settled at once; a running one checks its flag.
void ComputeThread::cancel(const JobPointer& job) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find(queue_.begin(), queue_.end(), job);
    if (found == queue_.end()) return;
    queue_.erase(found);
  }
  job->error = std::make_exception_ptr(Error(ErrorCode::Aborted, "the operation was aborted"));
  job->work = nullptr;
  deliver(job);
}

Napi::Promise ComputeThread::close(Napi::Env env) {
  if (closed_) {
    const auto done = Napi::Promise::Deferred::New(env);
    done.Resolve(env.Undefined());
    return done.Promise();
  }
  auto last = std::make_shared<Job>();
  last->deferred = Napi::Promise::Deferred::New(env);
  last->result = [](Napi::Env e) -> Napi::Value { return e.Undefined(); };
  const Napi::Promise promise = last->deferred->Promise();
  retain(env);
  begin_close(std::move(last));
  return promise;
}

void ComputeThread::begin_close(JobPointer last) {
  if (closed_) return;
  closed_ = true;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    last_ = std::move(last);
    const auto drop = [](Job& job) {
      job.disposed = true;
      job.cancelled = true;
    };
    for (const JobPointer& job : queue_) drop(*job);
    if (running_) drop(*running_);
  }
  wake_.notify_one();
}

void ComputeThread::join() {
  if (thread_.joinable()) thread_.join();
}

void ComputeThread::retain(Napi::Env env) {
  if (pending_++ > 0) return;
  keep_ = shared_from_this();
  settle_.Ref(env);
}

// V8 collects garbage earlier if it knows how much native memory its objects hold.
void ComputeThread::account(Napi::Env env) {
  const int64_t bytes = closed_ ? 0 : total_bytes(engine_->usage());
  if (bytes != reported_bytes_) Napi::MemoryManagement::AdjustExternalMemory(env, bytes - reported_bytes_);
  reported_bytes_ = bytes;
}

void ComputeThread::settle(Napi::Env env, Napi::Function, ComputeThread* self, JobPointer* boxed) {
  const std::unique_ptr<JobPointer> job(boxed);
  if (env == nullptr) return;  // the environment is being torn down, and self with it: nothing to settle
  std::shared_ptr<ComputeThread> last_reference;
  if (--self->pending_ == 0) {
    self->settle_.Unref(env);
    last_reference = std::move(self->keep_);
  }
  Job& j = **job;
  try {
    self->account(env);
    if (j.error) return j.deferred->Reject(to_js_error(env, j.error).Value());
    Napi::Value value;
    try {
      value = j.result(env);
    } catch (const Napi::Error& e) {
      return j.deferred->Reject(e.Value());
    } catch (...) {
      return j.deferred->Reject(to_js_error(env, std::current_exception()).Value());
    }
    j.result = nullptr;
    j.deferred->Resolve(value);
  } catch (const Napi::Error&) {
    // A worker that is being terminated refuses every call; its promises end with it.
  }
}

void ComputeThread::deliver(JobPointer job) {
  auto* boxed = new JobPointer(std::move(job));
  if (settle_.NonBlockingCall(boxed) != napi_ok) delete boxed;
}

void ComputeThread::execute(Job& job) {
  const bool promised = job.deferred.has_value();
  try {
    if (promised) {
      if (job.cancelled) throw Error(ErrorCode::Aborted, "the operation was aborted");
      if (!fault_.empty()) throw Error(ErrorCode::Device, fault_);
      engine_->backend().set_cancel(&job.cancelled);
    }
    job.work();
  } catch (const Error& error) {
    job.error = std::current_exception();
    // What is in the device's memory is not known any more.
    if (error.code == ErrorCode::Device && fault_.empty())
      fault_ = std::string("the device failed before this call: ") + error.what() + "; dispose of the engine";
  } catch (...) {
    job.error = std::current_exception();
  }
  if (promised && engine_ != nullptr) engine_->backend().set_cancel(nullptr);
  if (job.error && job.disposed)
    job.error =
        std::make_exception_ptr(Error(ErrorCode::Disposed, "the engine was disposed before the operation ended"));
  job.work = nullptr;  // free captured inputs before the result is delivered
}

void ComputeThread::loop() {
  for (bool released = false;;) {
    JobPointer job;
    {
      std::unique_lock lock(mutex_);
      running_ = nullptr;
      wake_.wait(lock, [&] { return closing_ || !queue_.empty(); });
      if (!queue_.empty()) {
        job = std::move(queue_.front());
        queue_.pop_front();
        running_ = job;
      } else if (released) {
        ended_ = true;
        break;
      }
    }
    if (job != nullptr) {
      execute(*job);
      if (job->deferred) deliver(std::move(job));
    } else {  // closing, and the queue is empty: all memory is freed on this thread, so that no other one touches the
              // engine
      root_->release();
      engine_ = nullptr;
      released = true;
    }
  }
  if (last_ != nullptr) deliver(std::move(last_));
  settle_.Release();
}

}  // namespace heed::bindings
