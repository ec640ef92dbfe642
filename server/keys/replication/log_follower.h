#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/core/revision_token.h"
#include "server/base/clock.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/recent_revisions.h"
#include "server/keys/replication/staleness_bound.h"
#include "server/keys/replication/watch_hub.h"
#include "server/model/key_store.h"

namespace latchkey::keys {

// Keeps a KeyIndex equal to the change log: one snapshot at the start, then the log's rows in order, each checked
// against the chain. Own writes go through Deliver, by the same code, if they are of the history that was read last.
// What it applies it tells the WatchHub.
//
// The lease. Only Renew grants one: a transaction that WRITES this replica's row on the primary, so that a lagging
// standby or a fenced primary can't, and that reads the log up to the head of its own snapshot. The lease then reaches
// to (the time just before that transaction was sent) + L, on CLOCK_BOOTTIME. L is what that snapshot's settings say.
//
// If the history in the database is not the one that was followed (a restore, a failover that lost commits), the lease
// ends, every Watch stream is ended, the view is loaded anew, and only then may there be a lease again. If the cursor's
// row has merely been pruned, the same happens without the alarm. What was followed is the cursor's row, and beyond it
// an own row that could not be read back yet: a history without that one is another one too, also if it has the
// cursor's. If only the history's name is another one (core::HistoryId) the view is right, but a client may have heard
// of lost rows by another server: the streams end, and none may resume from before the head of the first page that was
// read in the new history.
//
// Thread-safe; one reading of the log is in flight at a time.
class LogFollower {
 public:
  struct Options {
    std::string replica = "replica";  // This process's row: a random id per start.
    std::string doorbell;             // Where peers ring; "" = nowhere.
    int page = 5000;
    absl::Duration catch_up_pause = absl::Milliseconds(10);  // The least time between two catch-ups.
  };
  LogFollower(storage::KeyStore& store, KeyIndex& index, WatchHub& hub, const base::Clock& clock, Options options);

  // One step: the snapshot if there is none yet, then a renewal that reads up to the head. After an error the lease is
  // as it was, unless the error says that the view can't be trusted: then it is over.
  absl::Status Renew();
  // Reads the log up to the head and grants nothing. Returns once a reading that began after this call is applied; many
  // callers share one. DEADLINE_EXCEEDED, or why it could not be read.
  absl::Status CatchUp(base::BootTime deadline);

  // Own rows, just committed: in the index when this returns. Of another history than was met here, or of one that is
  // not known, they come by the log. If they can't be applied (the database went away between), the lease ends instead,
  // and the next one is granted by a renewal that has passed them, or that shows that they are lost: then history was
  // rewritten, with all that follows.
  void Deliver(const storage::Committed& own, const std::vector<KeyProof>& proofs = {});

  // Where `token` is from here. Never blocks on the database. One that is kOld Await asks the database about; what that
  // confirms is kApplied from then on.
  RevisionStatus StatusOf(const core::RevisionToken& token) const { return revisions_.StatusOf(token); }
  // OK once `token` is applied and known to be of this history: REVISION_NOT_REACHED at the deadline,
  // REVISION_UNKNOWN, or why the log could not be read. Blocks.
  absl::Status Await(const core::RevisionToken& token, base::BootTime deadline);

  bool loaded() const;
  // L and what is promised now (StalenessBound).
  absl::Duration bound() const { return bound_.bound(); }
  absl::Duration promised_bound() const { return bound_.promised(); }
  absl::Duration renewal_interval() const { return bound_.renewal_interval(); }

  // What was followed before this process: the first load refuses (HISTORY_REFUSED, from Renew) unless the database has
  // that row.
  void RequireHistory(LogPosition position);

  // Told of every rewrite of history that was met. Before the first Renew.
  void OnHistoryRewritten(std::function<void(const std::string&)> alarm);
  // Told of own rows once they are delivered, to ring the doorbell. Before the first Deliver.
  void OnDelivered(std::function<void(int64_t revision)> ring);
  // As KeyIndex::SnapshotLoader::OnProgress.
  void OnProgress(std::function<void(int64_t loaded, int64_t expected)> progress);

 private:
  absl::Status LoadLocked();
  absl::Status ReadLocked(bool renew);
  using ProofsByKid = absl::flat_hash_map<std::string, std::vector<KeyProof>>;
  absl::Status ApplyLocked(const LogRow& row, const ProofsByKid& proofs);
  // Why the history that was followed is not (all of) the page's; nullopt if it is.
  struct HistoryMismatch {
    std::string what;
    bool rewritten = true;  // Else it was only pruned.
  };
  std::optional<HistoryMismatch> FindHistoryMismatch(const storage::LogPage& page, const LogPosition& cursor,
                                                     bool renew) const;
  // The page is of another history, which has everything that was followed.
  void MeetHistoryLocked(const storage::LogPage& page);
  void DiscardViewLocked(const HistoryMismatch& found);
  // A reading up to the head, sent at `sent_at`, is applied.
  void NoteRead(base::BootTime sent_at);
  // Waits until a reading that was sent after `arrived_at` is applied: true; or until the pause between two is over.
  bool ShareReading(base::BootTime arrived_at);
  bool ReadSince(base::BootTime time) const;

  storage::KeyStore& store_;
  KeyIndex& index_;
  WatchHub& hub_;
  const base::Clock& clock_;
  const Options options_;

  mutable std::mutex mutex_;  // Over every reading of the log; what follows is under it.
  bool loaded_ = false;
  bool entered_ = false;
  LogPosition must_include_;  // An own row that was not read back: no lease in a history without it. Revision 0 = none.
  core::HistoryId history_ = core::kNoHistory;  // Of the last snapshot or page.
  // Streams may begin once this revision is in the index; nullopt = they may.
  std::optional<int64_t> hub_starts_at_;
  LogPosition required_;

  RecentRevisions revisions_;
  StalenessBound bound_;

  // Short: never held over the database. What follows is under it.
  mutable std::mutex read_mutex_;
  std::condition_variable read_;
  bool has_view_ = false;   // As loaded_.
  base::BootTime read_at_;  // When the last reading up to the head was sent.

  std::function<void(const std::string&)> alarm_;
  std::function<void(int64_t)> ring_;
  std::function<void(int64_t, int64_t)> progress_;
};

}  // namespace latchkey::keys
