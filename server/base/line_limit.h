#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "server/base/clock.h"
#include "server/base/rate_limiter.h"

namespace latchkey::base {

// Rate limit of log lines: so many a second on average, bursts of so many; what it leaves out is counted. Thread-safe.
class LineLimit {
 public:
  LineLimit(double per_second, int burst) : lines_(per_second, burst, 1) {}

  // nullopt: no line now. Otherwise how many were left out since the last.
  std::optional<int64_t> Take(BootTime now);

 private:
  RateLimiter lines_;
  std::atomic<int64_t> left_out_ = 0;
};

}  // namespace latchkey::base
