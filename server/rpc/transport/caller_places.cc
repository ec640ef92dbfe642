#include "server/rpc/transport/caller_places.h"

namespace latchkey::rpc {

bool CallerPlaces::Take(const std::string& kid) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (each_ == 0) return false;
  size_t& held = held_[kid];
  if (held == each_) return false;
  ++held;
  return true;
}

void CallerPlaces::Leave(const std::string& kid) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = held_.find(kid);
  if (--found->second == 0) held_.erase(found);
}

}  // namespace latchkey::rpc
