#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

#include "server/base/log.h"

namespace latchkey::rpc {

// Denied calls (who could not be authenticated, who lacked a permission), at most `per_second` lines a second with
// bursts as long: a flood of bad keys must not become a flood of lines. The next line tells how many were left out.
// Thread-safe.
class SecurityLog {
 public:
  explicit SecurityLog(int per_second = 10);

  // True if the line was written.
  bool Denied(log::Fields fields);

 private:
  const double per_second_;
  std::mutex mutex_;
  double tokens_;
  std::chrono::steady_clock::time_point refilled_at_;
  int64_t left_out_ = 0;
};

}  // namespace latchkey::rpc
