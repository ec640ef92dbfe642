#include <algorithm>

#include "server/model/change_codec.h"
#include "tests/support/memory_store/memory_key_store.h"

namespace latchkey::storage {

void MemoryKeyStore::SetLevel(int level) {
  const std::lock_guard lock(mutex_);
  state_.settings.level = level;
  std::erase_if(replicas_, [level](const auto& item) { return item.second.newest_level < level; });
}

void MemoryKeyStore::EnterReplicaOfLevels(const std::string& replica, int oldest, int newest) {
  const std::lock_guard lock(mutex_);
  replicas_[replica] = {.id = replica, .oldest_level = oldest, .newest_level = newest};
}

void MemoryKeyStore::SetUnavailable(bool unavailable) {
  const std::lock_guard lock(mutex_);
  unavailable_ = unavailable;
}

void MemoryKeyStore::LoseNextReply() {
  const std::lock_guard lock(mutex_);
  lose_reply_ = true;
}

void MemoryKeyStore::DropNewestRows(int count) {
  const std::lock_guard lock(mutex_);
  ++timeline_;
  for (; count > 0 && log_.size() > 1; --count) {
    undo_.back()();
    undo_.pop_back();
    row_kids_.pop_back();
    log_.pop_back();
  }
  oldest_ = std::min(oldest_, log_.back().rev);
}

void MemoryKeyStore::Restart() {
  const std::lock_guard lock(mutex_);
  ++starts_;
}

void MemoryKeyStore::ReplaceChain() {
  const std::lock_guard lock(mutex_);
  ++timeline_;
  // The old identity hashed once more is as good as a random one, and two calls never meet.
  log_[0].chain = keys::ChainOf(log_[0].chain, 0, log_[0].at, "another history");
  for (size_t i = 1; i < log_.size(); ++i) {
    log_[i].chain = keys::ChainOf(log_[i - 1].chain, log_[i].rev, log_[i].at, log_[i].body);
  }
}

void MemoryKeyStore::ForgetReplicas() {
  const std::lock_guard lock(mutex_);
  replicas_.clear();
}

void MemoryKeyStore::ForgetRowsBelow(int64_t oldest) {
  const std::lock_guard lock(mutex_);
  oldest_ = std::min(std::max(oldest_, oldest), log_.back().rev);
}

int64_t MemoryKeyStore::UseCount(const std::string& kid, int32_t version, absl::Time hour, int decision) const {
  const std::lock_guard lock(mutex_);
  const auto it = use_hours_.find({kid, version, hour, decision});
  return it == use_hours_.end() ? 0 : it->second;
}

}  // namespace latchkey::storage
