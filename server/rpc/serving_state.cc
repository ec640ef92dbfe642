#include "server/rpc/serving_state.h"

#include <algorithm>
#include <utility>

namespace latchkey::rpc {

void ServingState::SetVerify(bool up) { Set(&ServingState::verify_, up); }
void ServingState::SetAdmin(bool up) { Set(&ServingState::admin_, up); }
void ServingState::StartDraining() { Set(&ServingState::draining_, true); }

void ServingState::Set(bool ServingState::*what, bool value) {
  std::vector<std::shared_ptr<ServingListener>> told;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (this->*what == value) return;
    this->*what = value;
    for (const std::weak_ptr<ServingListener>& listener : listeners_) told.push_back(listener.lock());
  }
  // Without the lock: a listener asks StatusOf.
  for (const std::shared_ptr<ServingListener>& listener : told) {
    if (listener != nullptr) listener->OnServingChange();
  }
}

ServingState::Status ServingState::StatusOf(const std::string& service) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  bool up = false;
  if (service.empty() || service == "latchkey.v1.KeyVerify") {
    up = verify_;
  } else if (service == "latchkey.v1.KeyAdmin") {
    up = admin_;
  } else {
    return Status::kUnknownService;
  }
  return up && !draining_ ? Status::kServing : Status::kNotServing;
}

bool ServingState::draining() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return draining_;
}

void ServingState::Subscribe(std::weak_ptr<ServingListener> listener) {
  const std::lock_guard<std::mutex> lock(mutex_);
  listeners_.push_back(std::move(listener));
  if (listeners_.size() < tidy_at_) return;
  std::erase_if(listeners_, [](const std::weak_ptr<ServingListener>& one) { return one.expired(); });
  tidy_at_ = std::max<size_t>(64, 2 * listeners_.size());
}

}  // namespace latchkey::rpc
