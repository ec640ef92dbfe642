#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/watch_hub.h"

namespace latchkey::keys {

// Schedule of lease renewals, and of reading the log when a peer rings: what is due and when, without a thread. Two
// loops drive it, each on its own, so that no read delays a renewal by more than the database does (the composition
// root has a thread for each, the simulation a fiber).
//
// RenewIfDue belongs to one loop, CatchUpIfRung to another; the rest is thread-safe.
class LeaseRenewer {
 public:
  struct Hooks {
    // Makes the database usable before the first renewal; tried again until OK. FAILED_PRECONDITION is fatal.
    std::function<absl::Status()> prepare;
    // The line for the operator when the database's past is not the one that was followed (HISTORY_REFUSED), or it is
    // at a feature level that this build does not read (LEVEL_UNREADABLE).
    std::function<absl::Status(const absl::Status&)> explain_refusal;
    // Something may be due earlier than was said: both loops should come. Never blocks; called without a lock.
    std::function<void()> wake;
  };
  LeaseRenewer(LogFollower& follower, const KeyIndex& index, WatchHub& hub, const base::Clock& clock, Hooks hooks);
  LeaseRenewer(const LeaseRenewer&) = delete;
  LeaseRenewer& operator=(const LeaseRenewer&) = delete;

  // Renews the lease if that is due; blocks as long as the database takes. Returns when to come again, unless woken
  // before; nullopt = never, for it is fatal.
  std::optional<base::BootTime> RenewIfDue();
  // Reads the log if a ring has told of something that this server has not; blocks likewise. To be called when woken.
  void CatchUpIfRung();

  // A doorbell rang. Never blocks. `waiting`: renews at once and again each 30 ms until a renewal has told the others
  // that `revision` is applied and acknowledged, or no ring came for half a second.
  void Heard(int64_t revision, bool waiting);

  // Why this process must end: a wrong key ring, a schema or feature level this build can't use, another history. OK
  // while it need not.
  absl::Status fatal() const;
  // The database answered a renewal that was sent a short while ago; never waits for one that hangs.
  bool database_answers() const;

 private:
  // When the next renewal is due: on schedule, or for a waiter.
  base::BootTime DueLocked(base::BootTime now) const;
  bool PrepareOnce(absl::Status& status);
  absl::Status Renew();
  void NoteDatabase(const absl::Status& status);
  void NoteLoaded(base::BootTime began);
  void LogAnchor();

  LogFollower& follower_;
  const KeyIndex& index_;
  WatchHub& hub_;
  const base::Clock& clock_;
  const Hooks hooks_;

  std::atomic<bool> database_ok_{false};
  std::atomic<int64_t> database_ok_at_ns_{0};  // When the last renewal that succeeded was sent.
  bool noted_loaded_ = false;                  // RenewIfDue's.
  base::BootTime anchor_at_;                   // Likewise.

  // --- RenewIfDue's ---
  bool prepared_ = false;
  bool complained_ = false;
  absl::Duration backoff_;
  base::BootTime due_;  // On schedule; Never = at once.

  mutable std::mutex mutex_;
  absl::Status fatal_;
  int64_t rung_ = 0;                 // The newest revision heard of and not looked for yet; 0 = none.
  int64_t awaited_ = 0;              // What waiters wait for,
  base::BootTime awaited_until_;     // as of their last ring.
  int64_t told_ = 0;                 // What the last renewal said is acknowledged everywhere below this server.
  base::BootTime renewal_began_at_;  // The last one.
};

}  // namespace latchkey::keys
