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

namespace latchkey::client {

// One thread that runs what it is given, one after the other: the client's timer, and the place where streams are made
// and unmade. None of gRPC's threads, so that the last reference to a channel may be dropped here. Thread-safe.
//
// What it runs must not block.
class EventLoop {
 public:
  using Task = std::function<void()>;
  using TimerId = std::pair<core::BootTime, uint64_t>;

  explicit EventLoop(const core::Clock& clock);
  // Waits for the task that runs; drops the others. Not to be run on the loop's own thread.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // As soon as possible, in the order of the calls.
  void Post(Task task);
  // Not before `when`.
  TimerId At(core::BootTime when, Task task);
  TimerId After(absl::Duration delay, Task task) { return At(clock_.BootNow() + delay, std::move(task)); }
  // False: it has run, runs now, or was cancelled before.
  bool Cancel(const TimerId& id);

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
