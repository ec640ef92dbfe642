#include "server/rpc/call/security_log.h"

#include <algorithm>
#include <utility>

namespace latchkey::rpc {

SecurityLog::SecurityLog(int per_second)
    : per_second_(per_second), tokens_(per_second), refilled_at_(std::chrono::steady_clock::now()) {}

bool SecurityLog::Denied(log::Fields fields) {
  int64_t left_out = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - refilled_at_).count();
    tokens_ = std::min(per_second_, tokens_ + seconds * per_second_);
    refilled_at_ = now;
    if (tokens_ < 1) {
      ++left_out_;
      return false;
    }
    tokens_ -= 1;
    left_out = std::exchange(left_out_, 0);
  }
  if (left_out > 0) fields.emplace_back("left_out_before", left_out);
  log::Info("call denied", fields);
  return true;
}

}  // namespace latchkey::rpc
