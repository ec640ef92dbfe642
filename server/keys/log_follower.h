#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/keys/key_index.h"
#include "server/storage/key_store.h"

namespace latchkey::keys {

// Keeps a KeyIndex equal to the change log: one snapshot at the start, then the log's rows in order, each checked
// against the chain. Every poll that reaches the head extends the lease to (the time the poll was SENT) + L. Own writes
// go through Deliver, by the same code. If the history in the database is not the one that was followed (a restore, a
// failover that lost commits), the lease ends, and the view is loaded anew.
//
// Thread-safe; one poll is in flight at a time.
class LogFollower {
 public:
  struct Options {
    absl::Duration bound = absl::Seconds(5);  // L: 2..60 s.
    int page = 5000;
  };
  LogFollower(storage::KeyStore& store, KeyIndex& index, const base::Clock& clock, Options options);

  // One step: the snapshot if there is none yet, else one poll up to the head. After an error the lease is as it was.
  absl::Status Poll();

  // Own rows, just committed: in the index when this returns OK. If they can't be applied (the database went away
  // between), the lease ends instead, and no later poll extends it before it has passed them: the server stops
  // answering rather than answer wrongly.
  void Deliver(const std::vector<LogRow>& rows);

  bool loaded() const;
  absl::Duration bound() const { return options_.bound; }
  // min(1 s, L / 5).
  absl::Duration poll_interval() const;

  // Told of every rewrite of history that was met.
  void OnHistoryRewritten(std::function<void(const std::string&)> alarm);

 private:
  absl::Status PollLocked();
  absl::Status LoadLocked();
  absl::Status ApplyLocked(const LogRow& row);
  void RewrittenLocked(const std::string& what);

  storage::KeyStore& store_;
  KeyIndex& index_;
  const base::Clock& clock_;
  const Options options_;
  mutable std::mutex mutex_;
  bool loaded_ = false;
  int64_t must_pass_ = 0;  // No lease below this revision.
  std::function<void(const std::string&)> alarm_;
};

}  // namespace latchkey::keys
