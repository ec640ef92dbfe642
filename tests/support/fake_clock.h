#pragma once

#include <atomic>

#include "server/base/clock.h"

namespace latchkey::testing {

// Stands still until it is told to move. Starts at 1000 s, so that "an hour ago" is not before BootTime::Never by
// accident. Thread-safe.
class FakeClock final : public base::Clock {
 public:
  base::BootTime BootNow() const override { return base::BootTime::FromNanoseconds(now_ns_.load()); }
  void Advance(absl::Duration by) { now_ns_ += absl::ToInt64Nanoseconds(by); }

 private:
  std::atomic<int64_t> now_ns_ = int64_t{1000} * 1'000'000'000;
};

}  // namespace latchkey::testing
