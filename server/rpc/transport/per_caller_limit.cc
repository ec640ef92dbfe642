#include "server/rpc/transport/per_caller_limit.h"

namespace latchkey::rpc {

bool PerCallerLimit::Acquire(const std::string& kid) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (each_ == 0) return false;
  size_t& held = held_[kid];
  if (held == each_) return false;
  ++held;
  return true;
}

void PerCallerLimit::Release(const std::string& kid) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = held_.find(kid);
  if (--found->second == 0) held_.erase(found);
}

}  // namespace latchkey::rpc
