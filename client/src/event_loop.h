#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/core/clock.h"
#include "client/src/timers.h"

namespace latchkey::client {

// Event loop with a thread of its own: the client's timer, and the place where streams are made and unmade. None of
// gRPC's threads, so that the last reference to a channel may be dropped here. Thread-safe.
class EventLoop final : public Timers {
 public:
  explicit EventLoop(const core::Clock& clock);
  // Waits for the task that runs; drops the others. Not to be run on the loop's own thread.
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void Post(Task task) override;
  TimerId At(core::BootTime when, Task task) override;
  TimerId After(absl::Duration delay, Task task) override { return At(clock_.BootNow() + delay, std::move(task)); }
  bool Cancel(const TimerId& id) override;

 private:
  void Run();

  const core::Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Task> posted_;
  std::map<TimerId, Task> timers_;
  uint64_t next_id_ = 1;
  bool idle_ = false;
  bool stopping_ = false;
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace latchkey::client
