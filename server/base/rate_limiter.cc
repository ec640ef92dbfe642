#include "server/base/rate_limiter.h"

#include <algorithm>

namespace latchkey::base {

RateLimiter::RateLimiter(double per_second, int burst, size_t capacity)
    : per_second_(std::max(per_second, 1e-3)), burst_(std::max(burst, 1)), capacity_(std::max<size_t>(1, capacity)) {}

double RateLimiter::Tokens(const Bucket& bucket, BootTime now) const {
  return std::min(burst_, bucket.tokens + absl::ToDoubleSeconds(now - bucket.at) * per_second_);
}

absl::Duration RateLimiter::Wait(std::string_view who, BootTime now) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_name_.find(who);
  if (found == by_name_.end()) return absl::ZeroDuration();
  const double missing = 1 - Tokens(*found->second, now);
  return missing <= 0 ? absl::ZeroDuration() : absl::Seconds(missing / per_second_);
}

void RateLimiter::Take(std::string_view who, BootTime now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_name_.find(who);
  if (found != by_name_.end()) {
    Bucket& bucket = *found->second;
    bucket.tokens = std::max(-burst_, Tokens(bucket, now) - 1);
    bucket.at = now;
    by_age_.splice(by_age_.end(), by_age_, found->second);
    return;
  }
  if (by_age_.size() >= capacity_) {
    by_name_.erase(by_age_.front().who);
    by_age_.pop_front();
  }
  by_age_.push_back(Bucket{std::string(who), burst_ - 1, now});
  by_name_.emplace(by_age_.back().who, std::prev(by_age_.end()));
}

absl::Duration RateLimiter::TakeOrWait(std::string_view who, BootTime now) {
  const absl::Duration wait = Wait(who, now);
  if (wait <= absl::ZeroDuration()) Take(who, now);
  return wait;
}

size_t RateLimiter::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return by_age_.size();
}

}  // namespace latchkey::base
