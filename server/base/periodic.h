#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/time/time.h"

namespace latchkey::base {

// Calls a function again and again, with a pause between, on a thread of its own. Belongs to one thread.
class Periodic {
 public:
  Periodic() = default;
  ~Periodic();  // Stops.
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

  void Start(absl::Duration pause, std::function<void()> job);
  // Waits for the call that is under way. Idempotent.
  void Stop();

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace latchkey::base
