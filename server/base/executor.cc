#include "server/base/executor.h"

#include <algorithm>
#include <utility>

namespace latchkey::base {

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

bool Executor::Enqueue(Class& to, std::function<void()>& job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || to.jobs.size() >= to.options.queue) return false;
    to.jobs.push_back(std::move(job));
  }
  ready_.notify_one();
  return true;
}

Executor::Class* Executor::RunnableLocked() {
  int shared_in_use = 0;
  for (const auto& one : classes_) shared_in_use += std::max(0, one->running - one->options.reserved);
  for (const auto& one : classes_) {
    if (one->jobs.empty() || one->running >= one->options.limit) continue;
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
    std::function<void()> job = std::move(from->jobs.front());
    from->jobs.pop_front();
    ++from->running;
    lock.unlock();
    job();
    job = nullptr;  // What it holds is let go of while the worker still counts as busy.
    lock.lock();
    --from->running;
    // It may have been its class's limit, or the last shared worker, that others waited for.
    ready_.notify_all();
  }
  ready_.notify_all();
}

}  // namespace latchkey::base
