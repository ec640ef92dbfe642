#pragma once

#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/time/time.h"
#include "server/base/clock.h"

namespace latchkey::base {

// Rate limiter: a token bucket for each name, full at first; what is limited takes one token, time brings them back.
// Bounded: the names that took longest ago, whose buckets are the fullest, are forgotten first. Thread-safe.
class RateLimiter {
 public:
  // `per_second` tokens come back, up to `burst`. A bucket may be taken into debt, by `burst` at most.
  RateLimiter(double per_second, int burst, size_t capacity);

  // How long until `who` may go on: zero if there is a token.
  absl::Duration Wait(std::string_view who, BootTime now) const;
  void Take(std::string_view who, BootTime now);
  // Takes one if there is one, and says how long to wait if not.
  absl::Duration TakeOrWait(std::string_view who, BootTime now);
  size_t size() const;

 private:
  struct Bucket {
    std::string who;
    double tokens;
    BootTime at;  // When `tokens` was right.
  };
  double Tokens(const Bucket& bucket, BootTime now) const;

  const double per_second_;
  const double burst_;
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::list<Bucket> by_age_;                                                   // Who took last at the end.
  std::unordered_map<std::string_view, std::list<Bucket>::iterator> by_name_;  // Keys live in by_age_.
};

}  // namespace latchkey::base
