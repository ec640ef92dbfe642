#include "client/src/event_loop.h"

#include <algorithm>

namespace latchkey::client {

EventLoop::EventLoop(const core::Clock& clock) : clock_(clock), thread_([this] { Run(); }) {}

EventLoop::~EventLoop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void EventLoop::Post(Task task) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(task));
    wake = std::exchange(idle_, false);
  }
  if (wake) changed_.notify_one();
}

EventLoop::TimerId EventLoop::At(core::BootTime when, Task task) {
  TimerId id;
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    id = {when, next_id_++};
    const auto placed = timers_.emplace(id, std::move(task)).first;
    wake = idle_ && placed == timers_.begin();
    if (wake) idle_ = false;
  }
  if (wake) changed_.notify_one();
  return id;
}

bool EventLoop::Cancel(const TimerId& id) {
  Task dropped;  // Destroyed without the lock: it may own anything.
  const std::lock_guard lock(mutex_);
  const auto found = timers_.find(id);
  if (found == timers_.end()) return false;
  dropped = std::move(found->second);
  timers_.erase(found);
  return true;
}

void EventLoop::Run() {
  std::vector<Task> tasks;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    tasks.swap(posted_);
    const core::BootTime now = clock_.BootNow();
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
      tasks.push_back(std::move(timers_.begin()->second));
      timers_.erase(timers_.begin());
    }
    if (!tasks.empty()) {
      lock.unlock();
      for (Task& task : tasks) {
        task();
        task = nullptr;
      }
      tasks.clear();
      lock.lock();
      continue;
    }
    idle_ = true;
    if (timers_.empty()) {
      changed_.wait(lock);
    } else {
      // Rounded up, or the last microsecond would be spent spinning.
      const absl::Duration wait = timers_.begin()->first.first - now + absl::Microseconds(1);
      changed_.wait_for(lock, absl::ToChronoNanoseconds(std::min(wait, absl::Hours(1))));
    }
    idle_ = false;
  }
  // Destroyed without the lock, like every task.
  tasks.swap(posted_);
  std::map<TimerId, Task> timers = std::move(timers_);
  timers_.clear();
  lock.unlock();
}

}  // namespace latchkey::client
