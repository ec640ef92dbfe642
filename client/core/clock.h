#pragma once

#include <compare>
#include <cstdint>

#include "absl/time/time.h"

namespace latchkey::core {

// Time point of CLOCK_BOOTTIME: monotonic, and it goes on during suspend (steady_clock stops there, which would let a
// lease outlive its bound). Meaningful on this machine until it restarts.
class BootTime {
 public:
  constexpr BootTime() = default;
  static constexpr BootTime FromNanoseconds(int64_t ns) {
    BootTime time;
    time.ns_ = ns;
    return time;
  }
  // Before every real time: a lease that ends here was never given.
  static constexpr BootTime Never() { return BootTime(); }

  constexpr int64_t nanoseconds() const { return ns_; }
  friend constexpr auto operator<=>(BootTime, BootTime) = default;  // NOLINT(modernize-use-nullptr): compares with 0.
  friend BootTime operator+(BootTime time, absl::Duration d) {
    return FromNanoseconds(time.ns_ + absl::ToInt64Nanoseconds(d));
  }
  friend absl::Duration operator-(BootTime a, BootTime b) { return absl::Nanoseconds(a.ns_ - b.ns_); }

 private:
  int64_t ns_ = 0;
};

// The only source of time below server/app and in the client library; tests drive one by hand. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual BootTime BootNow() const = 0;
};

// The machine's.
class SystemClock final : public Clock {
 public:
  BootTime BootNow() const override;
};

// How far a machine's clock may run fast or slow, as a share of the time that passes (1,000 ppm; NTP slews at most
// 500). Leases are granted and counted on different machines, so every bound that this project promises is L·(1 + 4ρ).
inline constexpr double kClockRateError = 1e-3;

// `bound`·(1 + 4ρ): when a revocation that took effect `bound` ago is over everywhere, whatever the clocks do.
inline absl::Duration WithClockError(absl::Duration bound) { return bound * (1 + 4 * kClockRateError); }

}  // namespace latchkey::core
