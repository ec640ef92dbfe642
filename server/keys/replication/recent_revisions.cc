#include "server/keys/replication/recent_revisions.h"

namespace latchkey::keys {
namespace {

constexpr size_t kRecent = 65'536;
constexpr size_t kConfirmed = 4'096;

}  // namespace

void RecentRevisions::Restart(const core::RevisionToken& position) {
  const std::lock_guard lock(mutex_);
  recent_.assign(1, position);
}

void RecentRevisions::Append(const core::RevisionToken& revision) {
  const std::lock_guard lock(mutex_);
  recent_.push_back(revision);
  if (recent_.size() > kRecent) recent_.pop_front();
}

void RecentRevisions::Clear() {
  const std::lock_guard lock(mutex_);
  recent_.clear();
  confirmed_.clear();
  ++history_id_;
}

RevisionStatus RecentRevisions::StatusOf(const core::RevisionToken& revision) const {
  const std::lock_guard lock(mutex_);
  if (recent_.empty() || revision.revision > recent_.back().revision) return RevisionStatus::kAhead;
  if (revision.revision < 0) return RevisionStatus::kUnknown;
  if (revision.revision < recent_.front().revision) {
    const auto confirmed = confirmed_.find(revision.revision);
    if (confirmed == confirmed_.end()) return RevisionStatus::kOld;
    return confirmed->second == revision.chain ? RevisionStatus::kApplied : RevisionStatus::kUnknown;
  }
  return recent_[revision.revision - recent_.front().revision] == revision ? RevisionStatus::kApplied
                                                                           : RevisionStatus::kUnknown;
}

int64_t RecentRevisions::history_id() const {
  const std::lock_guard lock(mutex_);
  return history_id_;
}

void RecentRevisions::Confirm(const core::RevisionToken& revision, int64_t history_id) {
  const std::lock_guard lock(mutex_);
  if (history_id != history_id_) return;
  if (confirmed_.size() >= kConfirmed) confirmed_.clear();
  confirmed_[revision.revision] = revision.chain;
}

}  // namespace latchkey::keys
