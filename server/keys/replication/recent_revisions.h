#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>

#include "absl/container/flat_hash_map.h"
#include "client/core/revision_token.h"

namespace latchkey::keys {

// Where a revision is from here, as far as memory can tell.
enum class RevisionStatus {
  kApplied,
  kAhead,
  kOld,      // Applied, but too long ago to tell its history from another: the database must be asked.
  kUnknown,  // Of another history.
};

// The revisions of the log that were applied last, and older ones that the database has confirmed. Thread-safe; its
// lock is short and never held over anything else.
class RecentRevisions {
 public:
  // A view at `position` was loaded: what was known of an earlier history is forgotten.
  void Restart(const core::RevisionToken& position);
  // The next row was applied.
  void Append(const core::RevisionToken& revision);
  // The history that was followed is over; until Restart every revision is ahead.
  void Clear();

  RevisionStatus StatusOf(const core::RevisionToken& revision) const;

  // A number for the history that is followed: another one after each Clear.
  int64_t history_id() const;
  // The database has `revision` in the history `history_id`; ignored if that one is over.
  void Confirm(const core::RevisionToken& revision, int64_t history_id);

 private:
  mutable std::mutex mutex_;
  std::deque<core::RevisionToken> recent_;  // Oldest first, without gaps.
  absl::flat_hash_map<int64_t, core::ChainPrefix> confirmed_;
  int64_t history_id_ = 0;
};

}  // namespace latchkey::keys
