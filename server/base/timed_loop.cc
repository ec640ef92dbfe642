#include "server/base/timed_loop.h"

#include <utility>

#include "absl/time/time.h"

namespace latchkey::base {

TimedLoop::~TimedLoop() { Stop(); }

void TimedLoop::Start(Step step) {
  step_ = std::move(step);
  thread_ = std::thread([this] { Run(); });
}

void TimedLoop::Wake() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    woken_ = true;
  }
  changed_.notify_all();
}

void TimedLoop::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void TimedLoop::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    woken_ = false;
    lock.unlock();
    const std::optional<BootTime> next = step_();
    lock.lock();
    const auto is_due = [this] { return woken_ || stopping_; };
    if (!next.has_value()) {
      changed_.wait(lock, is_due);
      continue;
    }
    // By the clock that the step counts on, which suspend does not stop.
    for (BootTime now = clock_.BootNow(); now < *next && !is_due(); now = clock_.BootNow()) {
      changed_.wait_for(lock, absl::ToChronoNanoseconds(*next - now));
    }
  }
}

}  // namespace latchkey::base
