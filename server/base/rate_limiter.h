#pragma once

#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/time/time.h"
#include "server/base/clock.h"

namespace latchkey::keys {

// A token bucket for each name that failed: full at first, a failure takes one token, time brings them back. Bounded:
// the names that failed longest ago, whose buckets are the fullest, are forgotten first. Thread-safe.
class FailureRateLimiter {
 public:
  // `per_second` tokens come back, up to `burst`. Concurrent failures may take a bucket into debt, by `burst` at most.
  FailureRateLimiter(double per_second, int burst, size_t capacity);

  // How long until `who` may try again: zero if there is a token.
  absl::Duration Wait(std::string_view who, base::BootTime now) const;
  void Fail(std::string_view who, base::BootTime now);
  size_t size() const;

 private:
  struct Bucket {
    std::string who;
    double tokens;
    base::BootTime at;  // When `tokens` was right.
  };
  double Tokens(const Bucket& bucket, base::BootTime now) const;

  const double per_second_;
  const double burst_;
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::list<Bucket> by_age_;                                                   // The last failure at the end.
  std::unordered_map<std::string_view, std::list<Bucket>::iterator> by_name_;  // Keys live in by_age_.
};

}  // namespace latchkey::keys
