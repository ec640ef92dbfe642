#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/core/clock.h"
#include "tests/simulation/fiber.h"

namespace latchkey::simulation {

// True time, the events in it, and chance. One thread; everything that happens follows from the seed.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {}

  // Seconds since the beginning.
  double now() const { return now_; }
  absl::Time wall_now() const { return absl::FromUnixSeconds(1'700'000'000) + absl::Seconds(now_); }

  // `event` happens `delay` seconds from now, in a fiber of its own: it may Sleep.
  void In(double delay, std::function<void()> event);
  // Lets others go on for `seconds`. From inside an event.
  void Sleep(double seconds);
  // What has not happened by `end` does not: then every event that has begun runs to its end at once, with no more
  // waiting, so that nothing stays locked or pinned.
  void RunUntil(double end);
  bool ending() const { return ending_; }

  // --- Chance ---
  double Uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random_); }
  double Exponential(double mean) { return std::exponential_distribution<double>(1 / mean)(random_); }
  int Pick(int count) { return std::uniform_int_distribution<int>(0, count - 1)(random_); }
  bool Chance(double probability) { return Uniform(0, 1) < probability; }

  // --- The network: links can be cut for a while ---
  void Cut(const std::string& link, double from, double until);
  bool IsCut(const std::string& link) const;
  // When whoever waits for the link can go on; now if it is not cut.
  double HealedAt(const std::string& link) const;
  // Heavy-tailed: mostly milliseconds, sometimes many seconds.
  double Delay();
  // Waits for one message to cross; false if it is lost. From inside an event.
  bool Cross(const std::string& link);

 private:
  struct Event {
    double at;
    uint64_t order;
    std::shared_ptr<Fiber> fiber;
    bool begun;
    bool operator<(const Event& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  struct Outage {
    std::string link;
    double from;
    double until;
  };

  std::mt19937_64 random_;
  double now_ = 0;
  bool ending_ = false;
  uint64_t next_order_ = 0;
  std::priority_queue<Event> events_;
  std::shared_ptr<Fiber> running_;
  std::vector<Outage> outages_;
};

// A machine's CLOCK_BOOTTIME: its own beginning and its own rate.
class DriftingClock final : public core::Clock {
 public:
  DriftingClock(World& world, double rate) : world_(world), rate_(rate) {}
  core::BootTime BootNow() const override {
    return core::BootTime::FromNanoseconds(static_cast<int64_t>((world_.now() * rate_ + 1000) * 1e9));
  }
  // True seconds from now until this clock shows `time`, and a moment more; 0 if it does.
  double SecondsUntil(core::BootTime time) const {
    const double seconds = absl::ToDoubleSeconds(time - BootNow()) / rate_;
    return seconds <= 0 ? 0 : seconds + 1e-6;
  }

 private:
  World& world_;
  const double rate_;
};

}  // namespace latchkey::simulation
