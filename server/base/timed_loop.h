#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "server/base/clock.h"

namespace latchkey::base {

// Thread that calls a step function when the step itself asked for, or sooner when woken. Start and Stop belong to one
// thread; Wake is thread-safe, also before Start and after Stop.
class TimedLoop {
 public:
  // Returns when to be called again; nullopt = only when woken.
  using Step = std::function<std::optional<BootTime>()>;

  explicit TimedLoop(const Clock& clock) : clock_(clock) {}
  ~TimedLoop();  // Stops.
  TimedLoop(const TimedLoop&) = delete;
  TimedLoop& operator=(const TimedLoop&) = delete;

  void Start(Step step);
  // Calls the step again soon, also if it runs now. Never blocks.
  void Wake();
  // Waits for the step that is under way. Idempotent.
  void Stop();

 private:
  void Run();

  const Clock& clock_;
  Step step_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace latchkey::base
