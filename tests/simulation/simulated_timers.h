#pragma once

#include <deque>
#include <set>
#include <utility>

#include "client/src/timers.h"
#include "tests/simulation/world.h"

namespace latchkey::simulation {

// Timers of a simulated process, on its own drifting clock: one task at a time, though a task may be descheduled.
class SimulatedTimers final : public client::Timers {
 public:
  SimulatedTimers(World& world, const DriftingClock& clock) : world_(world), clock_(clock) {}

  void Post(Task task) override {
    ready_.push_back(std::move(task));
    if (!std::exchange(running_, true)) world_.In(0, [this] { RunReady(); });
  }
  TimerId At(core::BootTime when, Task task) override {
    const TimerId id{when, next_id_++};
    world_.In(clock_.SecondsUntil(when), [this, id, task = std::move(task)] {
      if (cancelled_.erase(id) == 0) Post(task);
    });
    return id;
  }
  TimerId After(absl::Duration delay, Task task) override { return At(clock_.BootNow() + delay, std::move(task)); }
  bool Cancel(const TimerId& id) override { return cancelled_.insert(id).second; }

 private:
  void RunReady() {
    while (!ready_.empty() && !world_.ending()) {
      const Task task = std::move(ready_.front());
      ready_.pop_front();
      task();
    }
    running_ = false;
  }

  World& world_;
  const DriftingClock& clock_;
  std::deque<Task> ready_;
  std::set<TimerId> cancelled_;
  uint64_t next_id_ = 1;
  bool running_ = false;
};

}  // namespace latchkey::simulation
