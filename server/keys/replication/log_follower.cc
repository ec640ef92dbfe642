#include "server/keys/replication/log_follower.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/errors.h"
#include "server/model/change_codec.h"

namespace latchkey::keys {
namespace {

constexpr size_t kRecent = 65'536;
constexpr size_t kConfirmed = 4'096;
constexpr int kResyncs = 3;  // In one step; more of them means that somebody rewrites the log as we read.

constexpr char kHistoryRefused[] = "the database has another history than this server followed before: ";

using ProofsByKid = absl::flat_hash_map<std::string, std::vector<KeyProof>>;

ProofsByKid ByKid(std::vector<KeyProof> proofs) {
  ProofsByKid by_kid;
  for (KeyProof& proof : proofs) by_kid[proof.kid].push_back(std::move(proof));
  return by_kid;
}

const std::vector<KeyProof>& ProofsOf(const ProofsByKid& proofs, const std::string& kid) {
  static const auto* const none = new std::vector<KeyProof>();
  const auto found = proofs.find(kid);
  return found == proofs.end() ? *none : found->second;
}

}  // namespace

LogFollower::LogFollower(storage::KeyStore& store, KeyIndex& index, WatchHub& hub, const base::Clock& clock,
                         Options options)
    : store_(store), index_(index), hub_(hub), clock_(clock), options_(std::move(options)) {}

bool LogFollower::loaded() const {
  const std::lock_guard lock(facts_mutex_);
  return loaded_fact_;
}

absl::Duration LogFollower::bound() const {
  const std::lock_guard lock(facts_mutex_);
  return settings_.bound;
}

absl::Duration LogFollower::promised_bound() const {
  const std::lock_guard lock(facts_mutex_);
  const bool former_leases_are_over = clock_.BootNow() >= former_until_;
  return former_leases_are_over ? settings_.bound : std::max(settings_.bound, former_bound_);
}

absl::Duration LogFollower::renewal_interval() const { return std::min(absl::Seconds(1), bound() / 5); }

void LogFollower::RequireHistory(LogPosition position) {
  const std::lock_guard lock(mutex_);
  required_ = std::move(position);
}

bool LogFollower::IsHistoryRefused(const absl::Status& status) {
  return status.code() == absl::StatusCode::kFailedPrecondition &&
         status.message().substr(0, sizeof kHistoryRefused - 1) == kHistoryRefused;
}

void LogFollower::OnHistoryRewritten(std::function<void(const std::string&)> alarm) { alarm_ = std::move(alarm); }
void LogFollower::OnDelivered(std::function<void(int64_t)> ring) { ring_ = std::move(ring); }
void LogFollower::OnProgress(std::function<void(int64_t, int64_t)> progress) { progress_ = std::move(progress); }

absl::Status LogFollower::Renew() {
  const std::lock_guard lock(mutex_);
  if (!loaded_) {
    if (absl::Status loaded = LoadLocked(); !loaded.ok()) return loaded;
  }
  if (!entered_) {
    if (absl::Status entered = store_.EnterReplica(options_.replica, options_.doorbell); !entered.ok()) return entered;
    entered_ = true;
  }
  return ReadLocked(/*renew=*/true);
}

absl::Status LogFollower::CatchUp(base::BootTime deadline) {
  const base::BootTime arrived_at = clock_.BootNow();
  base::BootTime last;
  {
    const std::lock_guard lock(facts_mutex_);
    last = sent_at_;
  }
  // Whoever asks within the pause shares the reading at its end.
  const absl::Duration pause = std::min(last + options_.catch_up_pause - arrived_at, options_.catch_up_pause);
  if (pause > absl::ZeroDuration()) absl::SleepFor(pause);
  const std::lock_guard lock(mutex_);
  if (!loaded_) return errors::LeaseExpired();
  if (read_at_ > arrived_at) return absl::OkStatus();
  if (clock_.BootNow() >= deadline) return errors::DeadlineExceeded();
  return ReadLocked(/*renew=*/false);
}

absl::Status LogFollower::LoadLocked() {
  if (!required_.chain.empty()) {
    const absl::StatusOr<std::optional<std::string>> chain = store_.ReadChain(required_.rev);
    if (!chain.ok()) return chain.status();
    if (!*chain || **chain != required_.chain) {
      return absl::FailedPreconditionError(absl::StrCat(kHistoryRefused, "it ", *chain ? "has another" : "lacks",
                                                        " revision ", required_.rev, " (expected chain ",
                                                        absl::BytesToHexString(required_.chain).substr(0, 16), ")"));
    }
  }
  const base::BootTime sent_at = clock_.BootNow();
  KeyIndex::SnapshotLoader load(index_);
  if (progress_) load.OnProgress(progress_);
  const absl::StatusOr<storage::SnapshotHead> head = store_.LoadSnapshot(load);
  if (!head.ok()) return head.status();
  load.Publish();
  hub_.Start(head->position);
  loaded_ = true;
  required_ = LogPosition();  // This process has followed it: from now on a rewrite is met while it runs.
  {
    const std::lock_guard lock(facts_mutex_);
    recent_.assign(1, core::RevisionToken::Of(head->position.rev, head->position.chain));
    loaded_fact_ = true;
  }
  NoteSettings(head->settings, sent_at);
  return absl::OkStatus();
}

absl::Status LogFollower::ReadLocked(bool renew) {
  for (int resyncs = 0; resyncs <= kResyncs;) {
    const LogPosition cursor = index_.position();
    // The lease counts from before the question was sent: whatever the answer's delay, it can't be older than this.
    const base::BootTime sent_at = clock_.BootNow();
    absl::StatusOr<storage::LogPage> page =
        renew ? store_.RenewLease({options_.replica, cursor.rev, hub_.AcknowledgedBy(cursor.rev, sent_at)}, cursor.rev,
                                  options_.page)
              : store_.ReadLog(cursor.rev, options_.page);
    if (!page.ok()) {
      if (errors::ReasonOf(page.status()) == "REPLICA_FORGOTTEN") {
        // Nobody who waits for all servers knows of this one: it must not answer until they do again.
        index_.EndLease();
        entered_ = false;
      }
      return page.status();
    }
    if (const std::optional<HistoryMismatch> found = FindHistoryMismatch(*page, cursor, renew)) {
      DiscardViewLocked(*found);
      if (absl::Status loaded = LoadLocked(); !loaded.ok()) return loaded;
      ++resyncs;
      continue;
    }
    if (page->timeline != timeline_) {
      hub_.EndAll("the database failed over");
      hub_.Start(cursor);
      timeline_ = page->timeline;
    }
    const ProofsByKid proofs = ByKid(std::move(page->proofs));
    for (size_t i = 1; i < page->rows.size(); ++i) {
      if (absl::Status applied = ApplyLocked(page->rows[i], proofs); !applied.ok()) return applied;
    }
    if (index_.position().rev == page->head) {
      NoteSettings(page->settings, sent_at);
      read_at_ = sent_at;
      // Only the page that reached the head of its own snapshot says that nothing older is missing.
      if (renew) index_.Extend(sent_at + page->settings.bound, page->now, sent_at, clock_.BootNow());
      return absl::OkStatus();
    }
    if (page->rows.size() < 2) {
      index_.EndLease();
      return errors::Internal(absl::StrCat("the change log ends at ", cursor.rev, " below its head ", page->head));
    }
  }
  return errors::Internal("the change log changes its past faster than it can be read");
}

std::optional<LogFollower::HistoryMismatch> LogFollower::FindHistoryMismatch(const storage::LogPage& page,
                                                                             const LogPosition& cursor,
                                                                             bool renew) const {
  if (page.rows.empty() || page.rows.front().rev != cursor.rev || page.rows.front().chain != cursor.chain) {
    if (page.oldest > cursor.rev) {
      return HistoryMismatch{absl::StrCat("revision ", cursor.rev, " is no longer kept"), /*rewritten=*/false};
    }
    return HistoryMismatch{absl::StrCat("the change log no longer has revision ", cursor.rev, " as it was followed")};
  }
  // A renewal writes on the primary, and was sent after the own row was committed there: a head below that row means
  // that it is gone, not that it is yet to come. Of a reading alone one can't be as sure.
  const bool ended = renew && page.head < must_include_.rev;
  const bool replaced = std::any_of(page.rows.begin(), page.rows.end(), [this](const LogRow& row) {
    return must_include_.rev > 0 && row.rev == must_include_.rev && row.chain != must_include_.chain;
  });
  if (!ended && !replaced) return std::nullopt;
  return HistoryMismatch{absl::StrCat("revision ", must_include_.rev, ", which this server committed, is lost")};
}

absl::Status LogFollower::ApplyLocked(const LogRow& row, const ProofsByKid& proofs) {
  const LogPosition at = index_.position();
  if (row.rev != at.rev + 1 || ChainOf(at.chain, row.rev, row.at, row.body) != row.chain) {
    index_.EndLease();
    return errors::Internal(absl::StrCat("change-log row ", row.rev, " does not continue the chain at ", at.rev));
  }
  const absl::StatusOr<Change> change = DecodeBody(row);
  if (!change.ok()) {
    index_.EndLease();
    return change.status();
  }
  const LogPosition position{row.rev, row.chain};
  index_.Apply(position, *change, ProofsOf(proofs, change->key ? change->key->kid : std::string()));
  hub_.Publish(position, *change);
  const std::lock_guard lock(facts_mutex_);
  recent_.push_back(core::RevisionToken::Of(row.rev, row.chain));
  if (recent_.size() > kRecent) recent_.pop_front();
  return absl::OkStatus();
}

void LogFollower::Deliver(const std::vector<LogRow>& rows, const std::vector<KeyProof>& proofs) {
  if (rows.empty()) return;
  const LogPosition last{rows.back().rev, rows.back().chain};
  const core::RevisionToken token = core::RevisionToken::Of(last.rev, last.chain);
  {
    const std::lock_guard lock(mutex_);
    if (loaded_) {
      const ProofsByKid by_kid = ByKid(proofs);
      for (const LogRow& row : rows) {
        const int64_t rev = index_.position().rev;
        if (row.rev <= rev) continue;
        if (row.rev != rev + 1) break;  // Others wrote between: the log has their rows.
        if (!ApplyLocked(row, by_kid).ok()) break;
      }
    }
    RevisionStatus status = StatusOf(token);
    bool can_tell = true;
    // Unknown: it is lost, or what was followed until now is.
    if (loaded_ && (status == RevisionStatus::kAhead || status == RevisionStatus::kUnknown)) {
      can_tell = ReadLocked(/*renew=*/false).ok();
      status = StatusOf(token);
    }
    switch (status) {
      case RevisionStatus::kApplied:
        // A row that came by the log, not by our hands, came without its proof if that is not stored.
        for (const KeyProof& proof : proofs) index_.RememberProof(proof);
        break;
      case RevisionStatus::kAhead:
        if (last.rev > must_include_.rev) must_include_ = last;
        index_.EndLease();
        break;
      case RevisionStatus::kUnknown:
        // Another row took its place before it came here: the view and the streams never had it.
        if (!can_tell) {
          index_.EndLease();
        } else if (alarm_) {
          alarm_(absl::StrCat("revision ", last.rev, ", which this server committed, is lost"));
        }
        break;
      case RevisionStatus::kOld:  // A snapshot has passed it.
        break;
    }
  }
  if (ring_) ring_(last.rev);
}

LogFollower::RevisionStatus LogFollower::StatusOf(const core::RevisionToken& token) const {
  const std::lock_guard lock(facts_mutex_);
  if (recent_.empty() || token.revision > recent_.back().revision) return RevisionStatus::kAhead;
  if (token.revision < 0) return RevisionStatus::kUnknown;
  if (token.revision < recent_.front().revision) {
    const auto confirmed = confirmed_.find(token.revision);
    if (confirmed == confirmed_.end()) return RevisionStatus::kOld;
    return confirmed->second == token.chain ? RevisionStatus::kApplied : RevisionStatus::kUnknown;
  }
  return recent_[token.revision - recent_.front().revision] == token ? RevisionStatus::kApplied
                                                                     : RevisionStatus::kUnknown;
}

absl::Status LogFollower::Await(const core::RevisionToken& token, base::BootTime deadline) {
  int64_t dropped = 0;
  {
    const std::lock_guard lock(facts_mutex_);
    dropped = dropped_;
  }
  RevisionStatus status = StatusOf(token);
  if (status == RevisionStatus::kAhead) {
    if (absl::Status read = CatchUp(deadline); !read.ok()) return read;
    status = StatusOf(token);
  }
  switch (status) {
    case RevisionStatus::kApplied:
      return absl::OkStatus();
    case RevisionStatus::kAhead:
      return errors::RevisionNotReached();
    case RevisionStatus::kUnknown:
      return errors::RevisionUnknown();
    case RevisionStatus::kOld:
      break;
  }
  const absl::StatusOr<std::optional<std::string>> chain = store_.ReadChain(token.revision);
  if (!chain.ok()) return chain.status();
  const bool same = *chain && core::RevisionToken::Of(token.revision, **chain) == token;
  if (!same) return errors::RevisionUnknown();
  const std::lock_guard lock(facts_mutex_);
  if (dropped == dropped_) {  // Else it was confirmed by a history that is over.
    if (confirmed_.size() >= kConfirmed) confirmed_.clear();
    confirmed_[token.revision] = token.chain;
  }
  return absl::OkStatus();
}

void LogFollower::NoteSettings(const Settings& settings, base::BootTime sent_at) {
  // Not `sent_at`: leases of the bound before may have been granted between that and the snapshot.
  const base::BootTime now = clock_.BootNow();
  const std::lock_guard lock(facts_mutex_);
  sent_at_ = sent_at;
  if (settings_known_ && settings == settings_) return;
  // What was seen here counts beside what the row says: a row of another history knows nothing of it.
  const absl::Duration former =
      settings_known_ ? std::max(settings_.bound, settings.previous_bound) : settings.previous_bound;
  former_bound_ = now < former_until_ ? std::max(former_bound_, former) : former;
  former_until_ = std::max(former_until_, now + core::WithClockError(former));
  settings_ = settings;
  settings_known_ = true;
}

void LogFollower::DiscardViewLocked(const HistoryMismatch& found) {
  const std::string& what = found.what;
  index_.EndLease();
  // Every stream ends before there can be a new lease: a Pong must not carry one into a cache of the other history.
  hub_.EndAll(what);
  loaded_ = false;
  if (found.rewritten) must_include_ = LogPosition();  // It means nothing in another history.
  {
    const std::lock_guard lock(facts_mutex_);
    recent_.clear();
    confirmed_.clear();
    ++dropped_;
    loaded_fact_ = false;
  }
  if (found.rewritten && alarm_) alarm_(what);
}

}  // namespace latchkey::keys
