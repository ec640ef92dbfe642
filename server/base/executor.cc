#include "server/base/executor.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "server/base/errors.h"

namespace latchkey::base {

Executor::Class::Class(Executor& its_executor, const WorkClass& its_options)
    : executor(its_executor), options(its_options), jobs(options.queue, std::max(1, options.limit - 1)) {}

Executor::Executor(const std::vector<WorkClass>& classes, int shared) : shared_(shared) {
  int threads = shared;
  for (const WorkClass& one : classes) {
    classes_.push_back(std::make_unique<Class>(*this, one));
    threads += one.reserved;
  }
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

Executor::~Executor() { Stop(); }

void Executor::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Executor::Enqueue(Class& to, const std::string& share, WorkQueue::Job job) {
  std::optional<WorkQueue::Job> dropped;
  bool stopping = false;
  {
    const std::lock_guard lock(mutex_);
    stopping = stopping_;
    dropped = stopping ? std::move(job) : to.jobs.Push(share, std::move(job));
  }
  if (!stopping) ready_.notify_one();
  if (dropped.has_value()) (*dropped)(stopping ? errors::ShuttingDown() : errors::WorkersBusy(kBusyRetryAfter));
}

Executor::Class* Executor::RunnableLocked() {
  int shared_in_use = 0;
  for (const auto& one : classes_) shared_in_use += std::max(0, one->running - one->options.reserved);
  for (const auto& one : classes_) {
    if (one->running >= one->options.limit || !one->jobs.has_next()) continue;
    if (one->running < one->options.reserved || shared_in_use < shared_) return one.get();
  }
  return nullptr;
}

void Executor::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    Class* const from = RunnableLocked();
    if (from == nullptr) {
      const bool idle =
          std::all_of(classes_.begin(), classes_.end(), [](const auto& one) { return one->jobs.empty(); });
      if (stopping_ && idle) break;
      ready_.wait(lock);
      continue;
    }
    std::optional<FairQueue<WorkQueue::Job>::Popped> next = from->jobs.Pop();
    ++from->running;
    lock.unlock();
    next->item(absl::OkStatus());
    next->item = nullptr;  // What it holds is let go of while the worker still counts as busy.
    lock.lock();
    --from->running;
    from->jobs.Done(next->share);
    // It may have been its class's limit, or the last shared worker, that others waited for.
    ready_.notify_all();
  }
  ready_.notify_all();
}

}  // namespace latchkey::base
