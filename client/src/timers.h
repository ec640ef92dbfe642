#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/time/time.h"
#include "client/core/clock.h"

namespace latchkey::client {

// Task queue with timers: runs what it is given one after the other, never two at once. EventLoop has a thread for it,
// the simulation its own time. Tasks must not block.
class Timers {
 public:
  using Task = std::function<void()>;
  using TimerId = std::pair<core::BootTime, uint64_t>;

  virtual ~Timers() = default;

  // As soon as possible, in the order of the calls.
  virtual void Post(Task task) = 0;
  // Not before `when`.
  virtual TimerId At(core::BootTime when, Task task) = 0;
  // Not before `delay` from now.
  virtual TimerId After(absl::Duration delay, Task task) = 0;
  // False: it has run, runs now, or was cancelled before.
  virtual bool Cancel(const TimerId& id) = 0;
};

}  // namespace latchkey::client
