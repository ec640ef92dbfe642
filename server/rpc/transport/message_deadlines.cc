#include "server/rpc/transport/message_deadlines.h"

namespace latchkey::rpc {

void MessageDeadlines::Add(AwaitsMessage& one, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  one.since_ = now;
  one.listed_ = true;
  one.before_ = last_;
  one.after_ = nullptr;
  (last_ == nullptr ? first_ : last_->after_) = &one;
  last_ = &one;
}

void MessageDeadlines::UnlinkLocked(AwaitsMessage& one) {
  (one.before_ == nullptr ? first_ : one.before_->after_) = one.after_;
  (one.after_ == nullptr ? last_ : one.after_->before_) = one.before_;
  one.listed_ = false;
}

bool MessageDeadlines::Remove(AwaitsMessage& one) {
  const std::lock_guard lock(mutex_);
  if (!one.listed_) return false;
  UnlinkLocked(one);
  return true;
}

void MessageDeadlines::Sweep(Clock::time_point now) {
  for (;;) {
    AwaitsMessage* overdue = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (first_ == nullptr || now - first_->since_ < patience_) return;
      overdue = first_;
      UnlinkLocked(*overdue);
    }
    overdue->OnMessageOverdue();
  }
}

}  // namespace latchkey::rpc
