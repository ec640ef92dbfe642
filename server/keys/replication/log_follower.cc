#include "server/keys/replication/log_follower.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/model/change_codec.h"

namespace latchkey::keys {
namespace {

constexpr int kResyncs = 3;  // In one step; more of them means that somebody rewrites the log as we read.

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

// A level that this build does not read: it could not tell what it misses.
absl::Status RequireReadable(const Settings& settings) {
  if (settings.level <= kNewestLevel) return absl::OkStatus();
  return errors::LevelUnreadable(settings.level, kOldestLevel, kNewestLevel);
}

}  // namespace

LogFollower::LogFollower(storage::KeyStore& store, KeyIndex& index, WatchHub& hub, const base::Clock& clock,
                         Options options)
    : store_(store), index_(index), hub_(hub), clock_(clock), options_(std::move(options)), bound_(clock) {}

bool LogFollower::loaded() const {
  const std::lock_guard lock(read_mutex_);
  return has_view_;
}

void LogFollower::RequireHistory(LogPosition position) {
  const std::lock_guard lock(mutex_);
  required_ = std::move(position);
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
    // The store refuses a replica of another level too, but can't say why.
    const absl::StatusOr<Settings> settings = store_.ReadSettings();
    if (!settings.ok()) return settings.status();
    if (absl::Status readable = RequireReadable(*settings); !readable.ok()) return readable;
    if (absl::Status entered = store_.EnterReplica(options_.replica, options_.doorbell); !entered.ok()) return entered;
    entered_ = true;
  }
  return ReadLocked(/*renew=*/true);
}

absl::Status LogFollower::CatchUp(base::BootTime deadline) {
  const base::BootTime arrived_at = clock_.BootNow();
  if (ShareReading(arrived_at)) return absl::OkStatus();
  const std::lock_guard lock(mutex_);
  if (!loaded_) return errors::LeaseExpired();
  // Another one may have read while this one waited for its turn.
  if (ReadSince(arrived_at)) return absl::OkStatus();
  if (clock_.BootNow() >= deadline) return errors::DeadlineExceeded();
  return ReadLocked(/*renew=*/false);
}

bool LogFollower::ReadSince(base::BootTime time) const {
  const std::lock_guard lock(read_mutex_);
  return read_at_ > time;
}

bool LogFollower::ShareReading(base::BootTime arrived_at) {
  std::unique_lock lock(read_mutex_);
  const absl::Duration pause = std::min(read_at_ + options_.catch_up_pause - arrived_at, options_.catch_up_pause);
  if (pause <= absl::ZeroDuration()) return false;
  return read_.wait_for(lock, absl::ToChronoNanoseconds(pause), [&] { return has_view_ && read_at_ > arrived_at; });
}

void LogFollower::NoteRead(base::BootTime sent_at) {
  {
    const std::lock_guard lock(read_mutex_);
    read_at_ = sent_at;
  }
  read_.notify_all();
}

absl::Status LogFollower::LoadLocked() {
  if (!required_.chain.empty()) {
    const absl::StatusOr<std::optional<std::string>> chain = store_.ReadChain(required_.rev);
    if (!chain.ok()) return chain.status();
    if (!*chain || **chain != required_.chain) {
      return errors::HistoryRefused(absl::StrCat("it ", *chain ? "has another" : "lacks", " revision ", required_.rev,
                                                 " (expected chain ",
                                                 absl::BytesToHexString(required_.chain).substr(0, 16), ")"));
    }
  }
  KeyIndex::SnapshotLoader load(index_);
  if (progress_) load.OnProgress(progress_);
  const absl::StatusOr<storage::SnapshotHead> head = store_.LoadSnapshot(load);
  if (!head.ok()) return head.status();
  if (absl::Status readable = RequireReadable(head->settings); !readable.ok()) return readable;
  load.Publish();
  index_.SetHistory(head->history);
  history_ = head->history;
  hub_starts_at_.reset();
  hub_.Start(head->position);
  loaded_ = true;
  required_ = LogPosition();  // This process has followed it: from now on a rewrite is met while it runs.
  revisions_.Restart(core::RevisionToken::Of(head->position.rev, head->position.chain));
  bound_.Note(head->settings);
  const std::lock_guard lock(read_mutex_);
  has_view_ = true;
  return absl::OkStatus();
}

absl::Status LogFollower::ReadLocked(bool renew) {
  for (int resyncs = 0; resyncs <= kResyncs;) {
    const LogPosition cursor = index_.position();
    // The lease counts from before the question was sent: whatever the answer's delay, it can't be older than this.
    const base::BootTime sent_at = clock_.BootNow();
    const auto read_page = [&] {
      if (!renew) return store_.ReadLog(cursor.rev, options_.page);
      const storage::Acknowledgements acknowledged = hub_.AcknowledgedBy(cursor.rev, sent_at);
      return store_.RenewLease({options_.replica, cursor.rev, acknowledged, cursor.chain}, cursor.rev, options_.page);
    };
    absl::StatusOr<storage::LogPage> page = read_page();
    if (!page.ok()) {
      if (errors::ReasonOf(page.status()) == errors::Reason::kReplicaForgotten) {
        // Nobody who waits for all servers knows of this one: it must not answer until they do again.
        index_.EndLease();
        entered_ = false;
      }
      return page.status();
    }
    if (absl::Status readable = RequireReadable(page->settings); !readable.ok()) {
      index_.EndLease();
      return readable;
    }
    if (const std::optional<HistoryMismatch> found = FindHistoryMismatch(*page, cursor, renew)) {
      DiscardViewLocked(*found);
      if (absl::Status loaded = LoadLocked(); !loaded.ok()) return loaded;
      ++resyncs;
      continue;
    }
    if (page->history != history_) MeetHistoryLocked(*page);
    const ProofsByKid proofs = ByKid(std::move(page->proofs));
    for (size_t i = 1; i < page->rows.size(); ++i) {
      if (absl::Status applied = ApplyLocked(page->rows[i], proofs); !applied.ok()) return applied;
    }
    if (hub_starts_at_.has_value() && index_.position().rev >= *hub_starts_at_) {
      hub_starts_at_.reset();
      hub_.Start(index_.position());
    }
    if (index_.position().rev == page->head) {
      bound_.Note(page->settings);
      // Only the page that reached the head of its own snapshot says that nothing older is missing.
      if (renew) index_.Extend(sent_at + page->settings.bound, page->now, sent_at, clock_.BootNow());
      NoteRead(sent_at);
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

// A client of another server may have heard of rows that this history lacks, and have acknowledged them: where it is
// below the head of this page, its revision can't tell. In this order: a stream that is open was told the history that
// the index shows.
void LogFollower::MeetHistoryLocked(const storage::LogPage& page) {
  hub_.EndAll("the database failed over or was restarted");
  index_.SetHistory(page.history);
  history_ = page.history;
  hub_starts_at_ = page.head;
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
  revisions_.Append(core::RevisionToken::Of(row.rev, row.chain));
  return absl::OkStatus();
}

void LogFollower::Deliver(const storage::Committed& own, const std::vector<KeyProof>& proofs) {
  const std::vector<LogRow>& rows = own.rows;
  if (rows.empty()) return;
  const LogPosition last{rows.back().rev, rows.back().chain};
  const core::RevisionToken token = core::RevisionToken::Of(last.rev, last.chain);
  {
    const std::lock_guard lock(mutex_);
    // Of another history a row may be next by its number and chain although what clients were told before it is lost:
    // the log says so first.
    if (loaded_ && own.history != core::kNoHistory && own.history == history_) {
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

absl::Status LogFollower::Await(const core::RevisionToken& token, base::BootTime deadline) {
  const int64_t history_id = revisions_.history_id();
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
  revisions_.Confirm(token, history_id);
  return absl::OkStatus();
}

void LogFollower::DiscardViewLocked(const HistoryMismatch& found) {
  const std::string& what = found.what;
  index_.EndLease();
  // Every stream ends before there can be a new lease: a Pong must not carry one into a cache of the other history.
  hub_.EndAll(what);
  loaded_ = false;
  if (found.rewritten) must_include_ = LogPosition();  // It means nothing in another history.
  revisions_.Clear();
  {
    const std::lock_guard lock(read_mutex_);
    has_view_ = false;
  }
  if (found.rewritten && alarm_) alarm_(what);
}

}  // namespace latchkey::keys
