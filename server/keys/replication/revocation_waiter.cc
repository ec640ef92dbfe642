#include "server/keys/replication/revocation_waiter.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "server/base/errors.h"

namespace latchkey::keys {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(5);
constexpr absl::Duration kLongestPause = absl::Milliseconds(20);
constexpr absl::Duration kRingEvery = absl::Milliseconds(50);
// Far beyond the longest L, whatever the clocks' error: nobody waits for such a row any more.
constexpr absl::Duration kForgottenAfter = absl::Hours(1);

}  // namespace

RevocationWaiter::RevocationWaiter(storage::KeyStore& store, LogFollower& follower, Doorbell* doorbell,
                                   const base::Clock& clock, Pause pause)
    : store_(store), follower_(follower), doorbell_(doorbell), clock_(clock), pause_(std::move(pause)) {}

absl::StatusOr<std::vector<storage::Replica>> RevocationWaiter::ReadAndNote() {
  absl::StatusOr<std::vector<storage::Replica>> replicas = store_.ReadReplicas();
  if (!replicas.ok()) return replicas;
  // After the read: the lease that goes with a beat was anchored before the beat could be seen.
  const base::BootTime now = clock_.BootNow();
  const std::lock_guard<std::mutex> lock(mutex_);
  std::map<std::string, Seen> still_there;
  for (const storage::Replica& replica : *replicas) {
    const auto known = seen_.find(replica.id);
    // A lower one is of a server that entered anew, or of a reading that another thread overtook: that makes the row
    // look alive for longer, never dead too early.
    const bool unchanged = known != seen_.end() && known->second.beat == replica.beat;
    still_there[replica.id] = unchanged ? known->second : Seen{replica.beat, now};
  }
  seen_ = std::move(still_there);
  return replicas;
}

std::vector<storage::Replica> RevocationWaiter::UnchangedFor(absl::Duration duration,
                                                             const std::vector<storage::Replica>& replicas) {
  std::vector<storage::Replica> unchanged;
  const base::BootTime now = clock_.BootNow();
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const storage::Replica& replica : replicas) {
    const auto seen = seen_.find(replica.id);
    if (seen != seen_.end() && seen->second.beat == replica.beat && now - seen->second.at >= duration) {
      unchanged.push_back(replica);
    }
  }
  return unchanged;
}

absl::Status RevocationWaiter::Observe() {
  const absl::StatusOr<std::vector<storage::Replica>> replicas = ReadAndNote();
  if (!replicas.ok()) return replicas.status();
  for (const storage::Replica& dead : UnchangedFor(kForgottenAfter, *replicas)) {
    if (absl::StatusOr<bool> gone = store_.ForgetReplica(dead.id, dead.beat); !gone.ok()) return gone.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> RevocationWaiter::Arrived(const RevokingChange& change, RevocationWait wait,
                                               absl::Duration bound) {
  const absl::StatusOr<std::vector<storage::Replica>> replicas = ReadAndNote();
  if (!replicas.ok()) return replicas.status();
  std::vector<storage::Replica> behind;
  for (const storage::Replica& replica : *replicas) {
    const int64_t has =
        wait == RevocationWait::kAll ? replica.acknowledged.Of(change.organization) : replica.applied_revision;
    if (has < change.revision) behind.push_back(replica);
  }
  return UnchangedFor(core::WithClockError(bound), behind).size() == behind.size();
}

absl::Status RevocationWaiter::Await(const RevokingChange& change, RevocationWait wait, base::BootTime committed_at,
                                     base::BootTime deadline) {
  if (wait == RevocationWait::kCommitted) return absl::OkStatus();
  // What this server promises may be older than the commit, if its own rows could not be followed.
  std::optional<absl::Duration> asked_bound;
  absl::Duration promised = follower_.promised_bound();
  absl::Duration pause = kFirstPause;
  base::BootTime ring_at = base::BootTime::Never();
  for (;;) {
    if (doorbell_ != nullptr && clock_.BootNow() >= ring_at) {
      doorbell_->Ring(change.revision, /*waiting=*/true);
      ring_at = clock_.BootNow() + kRingEvery;
    }
    if (!asked_bound.has_value()) {
      const absl::StatusOr<Settings> settings = store_.ReadSettings();
      if (settings.ok()) asked_bound = settings->bound;
    }
    promised = std::max(promised, follower_.promised_bound());
    const absl::Duration bound = asked_bound.has_value() ? std::max(promised, *asked_bound) : kLongestBound;
    const absl::StatusOr<bool> arrived = Arrived(change, wait, bound);
    if (arrived.ok() && *arrived) return absl::OkStatus();
    const base::BootTime now = clock_.BootNow();
    const base::BootTime dead_at = committed_at + core::WithClockError(bound);
    if (now >= dead_at) return absl::OkStatus();
    if (now >= deadline) return errors::DeadlineExceeded();
    pause_(std::min({pause, dead_at - now, deadline - now}));
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace latchkey::keys
