#include "server/keys/replication/lease_renewer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "server/base/errors.h"
#include "server/base/log.h"

namespace latchkey::keys {
namespace {

constexpr absl::Duration kShortestBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(2);
constexpr int kStaleRenewals = 3;  // A database that has not answered for so many renewals counts as away.
constexpr absl::Duration kAnchorEvery = absl::Minutes(1);
constexpr absl::Duration kRenewForWaiterEvery = absl::Milliseconds(30);
constexpr absl::Duration kWaiterRingsWithin = absl::Milliseconds(500);  // It rings each 50 ms while it waits.
constexpr absl::Duration kCatchUpPatience = absl::Seconds(5);

// No renewal will ever do better.
bool IsFatal(const absl::Status& status) {
  const errors::Reason reason = errors::ReasonOf(status);
  return reason == errors::Reason::kHistoryRefused || reason == errors::Reason::kLevelUnreadable;
}

}  // namespace

LeaseRenewer::LeaseRenewer(LogFollower& follower, const KeyIndex& index, WatchHub& hub, const base::Clock& clock,
                           Hooks hooks)
    : follower_(follower),
      index_(index),
      hub_(hub),
      clock_(clock),
      hooks_(std::move(hooks)),
      backoff_(kShortestBackoff) {}

void LeaseRenewer::Heard(int64_t revision, bool waiting) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    rung_ = std::max(rung_, revision);
    if (waiting) {
      const base::BootTime now = clock_.BootNow();
      // A ring of long ago, or a forged one, must not stand in the way of those that come now.
      awaited_ = now < awaited_until_ ? std::max(awaited_, revision) : revision;
      awaited_until_ = now + kWaiterRingsWithin;
    }
  }
  hooks_.wake();
}

absl::Status LeaseRenewer::fatal() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return fatal_;
}

bool LeaseRenewer::database_answers() const {
  const base::BootTime ok_at = base::BootTime::FromNanoseconds(database_ok_at_ns_);
  return database_ok_ && clock_.BootNow() - ok_at < kStaleRenewals * follower_.renewal_interval();
}

void LeaseRenewer::NoteDatabase(const absl::Status& status) {
  const bool was_ok = database_ok_.exchange(status.ok());
  if (status.ok() == was_ok) return;
  if (status.ok()) {
    log::Info("the database answers", {{"revision", index_.position().rev}, {"keys", index_.key_count()}});
  } else {
    log::Warning("the database does not answer; trying again", {{"error", std::string(status.message())}});
  }
}

void LeaseRenewer::NoteLoaded(base::BootTime began) {
  if (noted_loaded_) return;
  noted_loaded_ = true;
  log::Info("loaded", {{"keys", index_.key_count()},
                       {"revision", index_.position().rev},
                       {"bytes", index_.memory_bytes()},
                       {"seconds", absl::ToDoubleSeconds(clock_.BootNow() - began)}});
}

void LeaseRenewer::LogAnchor() {
  const LogPosition head = index_.position();
  log::Info("change log head", {{"revision", head.rev}, {"chain", absl::BytesToHexString(head.chain)}});
}

absl::Status LeaseRenewer::Renew() {
  const base::BootTime sent_at = clock_.BootNow();
  // Read before: what the renewal writes is at least this.
  const int64_t acknowledged = hub_.AcknowledgedBy(index_.position().rev, sent_at).oldest();
  const absl::Status status = follower_.Renew();
  if (IsFatal(status)) return status;
  if (status.ok()) {
    database_ok_at_ns_ = sent_at.nanoseconds();
    const std::lock_guard<std::mutex> lock(mutex_);
    told_ = acknowledged;
  }
  NoteDatabase(status);
  if (!status.ok()) return status;
  NoteLoaded(sent_at);
  if (clock_.BootNow() >= anchor_at_) {
    LogAnchor();
    anchor_at_ = clock_.BootNow() + kAnchorEvery;
  }
  return status;
}

base::BootTime LeaseRenewer::DueLocked(base::BootTime now) const {
  const bool awaited = awaited_ > told_ && now < awaited_until_;
  return awaited ? std::min(due_, renewal_began_at_ + kRenewForWaiterEvery) : due_;
}

// False: the database can't be used yet, for `status`.
bool LeaseRenewer::PrepareOnce(absl::Status& status) {
  if (prepared_) return true;
  status = hooks_.prepare();
  prepared_ = status.ok();
  if (!prepared_ && status.code() != absl::StatusCode::kFailedPrecondition && !std::exchange(complained_, true)) {
    log::Warning("the database is not ready; trying again", {{"error", std::string(status.message())}});
  }
  return prepared_;
}

std::optional<base::BootTime> LeaseRenewer::RenewIfDue() {
  const base::BootTime began = clock_.BootNow();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!fatal_.ok()) return std::nullopt;
    if (const base::BootTime due = DueLocked(began); began < due) return due;
    renewal_began_at_ = began;
  }
  absl::Status status;
  absl::Status fatal;
  if (PrepareOnce(status)) {
    status = Renew();
    if (IsFatal(status)) fatal = hooks_.explain_refusal(status);
    // It may be another database than was prepared: one that was restored from before a migration.
    if (absl::IsInternal(status)) prepared_ = false;
  } else if (status.code() == absl::StatusCode::kFailedPrecondition) {
    fatal = status;
  }
  const absl::Duration interval = follower_.renewal_interval();
  if (status.ok()) {
    // From its beginning: a renewal that took long does not put off the next one.
    due_ = began + interval;
    backoff_ = kShortestBackoff;
  } else {
    due_ = clock_.BootNow() + std::min(backoff_, interval);
    backoff_ = std::min(backoff_ * 2, kLongestBackoff);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  fatal_ = fatal;
  if (!fatal_.ok()) return std::nullopt;
  return DueLocked(clock_.BootNow());
}

void LeaseRenewer::CatchUpIfRung() {
  for (;;) {
    int64_t rung = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      // Taken before the log is read: a ring that comes during it asks for another look.
      rung = std::exchange(rung_, 0);
    }
    if (rung == 0) return;
    // An error is the renewals' to report; the ring is dropped.
    if (follower_.loaded() && rung > index_.position().rev) {
      follower_.CatchUp(clock_.BootNow() + kCatchUpPatience).IgnoreError();
    }
  }
}

}  // namespace latchkey::keys
