#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

#include "absl/time/time.h"

namespace latchkey::client {

// Exponential backoff with full jitter: how long to wait before the next try, random between 0 and a bound that doubles
// from 50 ms to 2 s, so that clients which lost the same server do not return together. Not thread-safe.
class Backoff {
 public:
  explicit Backoff(uint32_t seed = std::random_device{}()) : random_(seed) {}

  absl::Duration Next() {
    const absl::Duration bound = bound_;
    bound_ = std::min(bound_ * 2, kMax);
    return bound * std::uniform_real_distribution<double>(0, 1)(random_);
  }
  void Reset() { bound_ = kMin; }

 private:
  static constexpr absl::Duration kMin = absl::Milliseconds(50);
  static constexpr absl::Duration kMax = absl::Seconds(2);
  absl::Duration bound_ = kMin;
  std::minstd_rand random_;
};

}  // namespace latchkey::client
