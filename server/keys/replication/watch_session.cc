#include "server/keys/replication/watch_session.h"

#include <algorithm>
#include <utility>

#include "server/base/errors.h"

namespace latchkey::keys {
namespace {

constexpr size_t kMaxInvalidations = 1000;

// A stream without a ping for so long belongs to a client that is gone; its lease has ended long before.
absl::Duration LongestSilence(absl::Duration bound) { return 3 * std::max(bound, absl::Seconds(5)); }

}  // namespace

WatchSession::WatchSession(const Dependencies& dependencies)
    : dependencies_(dependencies), heard_at_(dependencies.clock.BootNow()) {}

void WatchSession::End(absl::Status why) {
  if (ended_.ok()) ended_ = std::move(why);
}

void WatchSession::NoteHeard() { heard_at_ = dependencies_.clock.BootNow(); }

absl::Status WatchSession::Subscribe(std::vector<std::string> organizations, const core::RevisionToken& resume,
                                     std::function<void()> wake) {
  absl::StatusOr<WatchHub::Subscription> subscription =
      dependencies_.hub.Subscribe(std::move(organizations), resume, std::move(wake));
  if (!subscription.ok()) return subscription.status();
  subscription_ = std::move(subscription->stream);
  from_ = subscription->from;
  resumed_ = subscription->resumed;
  told_ = acknowledged_ = from_.revision;
  // Last: a stream of another history than this has ended by now, and lends nothing.
  history_ = dependencies_.index.Read().history;
  hello_due_ = true;
  return absl::OkStatus();
}

absl::Status WatchSession::OnPing(uint64_t seq, const std::optional<core::RevisionToken>& acknowledged, bool may_lend) {
  if (last_seq_.has_value() && seq <= *last_seq_) return errors::FieldInvalid("ping.seq", "a number that rises");
  last_seq_ = seq;
  // A client can't have applied what it was not told.
  if (acknowledged.has_value() && acknowledged->revision <= told_) {
    subscription_->Acknowledge(acknowledged->revision);
    acknowledged_ = std::max(acknowledged_, acknowledged->revision);
    if (unacknowledged_.has_value() && acknowledged->revision >= unacknowledged_->revision) unacknowledged_.reset();
  }
  pong_ = PendingPong{.seq = seq, .may_lend = may_lend};
  return absl::OkStatus();
}

// The position first: a row is in the index a moment before it is in the queues, and a client must not acknowledge what
// it was not told. The lease is safe either way: it was granted before such a row was known.
void WatchSession::LoadLease(PendingPong& pong) const {
  pong.revision = dependencies_.hub.position();
  const KeyIndex::Snapshot snapshot = dependencies_.index.Read();
  pong.covers = snapshot.revision;
  pong.lease_until = snapshot.lease_until;
  pong.history = snapshot.history;
  pong.loaded = true;
}

bool WatchSession::BoundHasChanged() {
  if (!told_bound_.has_value() || *told_bound_ == dependencies_.follower.promised_bound()) return false;
  // Only a Hello says it. The client resumes, so that it costs its cache nothing.
  End(errors::WatchEnded("the bound has changed"));
  return true;
}

void WatchSession::CheckLiveness() {
  if (BoundHasChanged()) return;
  const absl::Duration bound = dependencies_.follower.promised_bound();
  if (dependencies_.clock.BootNow() - heard_at_ > LongestSilence(bound)) {
    End(errors::WatchEnded("no ping for too long"));
  }
  // Until it is ended, who deletes a key of its organization and waits for all waits for it.
  if (unacknowledged_.has_value() && dependencies_.clock.BootNow() - unacknowledged_->since > bound) {
    End(errors::WatchEnded("what it was told is not acknowledged"));
  }
}

std::optional<WatchSession::Message> WatchSession::Next() {
  if (!ended_.ok() || subscription_ == nullptr) return std::nullopt;
  if (std::exchange(hello_due_, false)) {
    // After a lowering servers may still hold leases of the old bound: clients must reckon with those.
    told_bound_ = dependencies_.follower.promised_bound();
    return Hello{from_, resumed_, *told_bound_, history_};
  }
  if (std::exchange(drain_due_, false)) return Drain{};
  if (pong_.has_value() && !pong_->loaded) LoadLease(*pong_);
  // Rows that came after the lease was loaded may follow the Pong; under steady changes there would be no Pong
  // otherwise.
  if (!pong_.has_value() || sent_to_ < pong_->covers) {
    std::vector<Invalidation> rows = subscription_->Take(kMaxInvalidations);
    if (!rows.empty()) {
      sent_to_ = rows.back().revision.revision;
      told_ = std::max(told_, sent_to_);
      return Invalidate{std::move(rows)};
    }
  }
  // After taking, before anything that lends time.
  if (absl::Status over = subscription_->ended(); !over.ok()) {
    End(std::move(over));
    return std::nullopt;
  }
  if (!pong_.has_value() || BoundHasChanged()) return std::nullopt;
  return NextPong();
}

std::optional<WatchSession::Message> WatchSession::NextPong() {
  const base::BootTime now = dependencies_.clock.BootNow();  // The clock last.
  const absl::Duration remaining =
      pong_->may_lend ? std::max(pong_->lease_until - now, absl::ZeroDuration()) : absl::ZeroDuration();
  if (!subscription_->Grant(now + core::WithClockError(remaining))) {
    End(subscription_->ended());
    return std::nullopt;
  }
  const Pong pong{pong_->seq, pong_->revision, remaining, pong_->history};
  if (pong.revision.revision > told_) told_ = pong.revision.revision;
  if (!unacknowledged_.has_value() && pong.revision.revision > acknowledged_) {
    unacknowledged_ = Unacknowledged{pong.revision.revision, now};
  }
  pong_.reset();
  return pong;
}

}  // namespace latchkey::keys
