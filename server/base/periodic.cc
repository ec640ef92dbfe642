#include "server/base/periodic.h"

#include <utility>

namespace latchkey::base {

Periodic::~Periodic() { Stop(); }

void Periodic::Start(absl::Duration pause, std::function<void()> job) {
  thread_ = std::thread([this, pause, job = std::move(job)] {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_) {
      lock.unlock();
      job();
      lock.lock();
      wake_.wait_for(lock, absl::ToChronoMilliseconds(pause), [this] { return stopping_; });
    }
  });
}

void Periodic::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace latchkey::base
