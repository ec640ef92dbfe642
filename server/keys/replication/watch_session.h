#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/core/revision_token.h"
#include "server/base/clock.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/watch_hub.h"

namespace latchkey::keys {

// State machine of one Watch stream, the server's side: what the client says goes in, what is to be written comes out,
// one message at a time and in order. It knows no transport: an rpc stream and the simulation drive the same class.
//
// What it keeps to (consistency of a client's lease):
// - a Pong is given only after every row that its lease covers;
// - it lends no time to a caller who could not be judged, and none on a subscription that has ended;
// - what counts as acknowledged is what the client has said of what it was told, nothing else;
// - it goes on under no other bound than its Hello told.
//
// Not thread-safe: whoever drives it holds one lock over all calls. `wake` of Subscribe comes on any thread.
class WatchSession {
 public:
  // What is written. A client hears Hello first, and once.
  struct Hello {
    core::RevisionToken from;  // Every change after it will come.
    bool resumed = false;      // The client may keep what it remembers.
    absl::Duration max_staleness;
    core::HistoryId history = core::kNoHistory;  // What the stream's revisions count in.
  };
  struct Invalidate {
    std::vector<Invalidation> rows;  // Oldest first, never empty.
  };
  struct Pong {
    uint64_t seq = 0;
    core::RevisionToken revision;                // The client has been told of everything up to here.
    absl::Duration remaining;                    // Of the lease, from when its Ping was sent; 0 = none is lent.
    core::HistoryId history = core::kNoHistory;  // That the lease was granted in.
  };
  struct Drain {};
  using Message = std::variant<Hello, Invalidate, Pong, Drain>;

  // What it works with; all outlive it.
  struct Dependencies {
    WatchHub& hub;
    const KeyIndex& index;
    const LogFollower& follower;
    const base::Clock& clock;
  };
  explicit WatchSession(const Dependencies& dependencies);

  // --- What the client says ---
  // The first message: whose changes to hear of (empty = all) and where to resume (revision 0 = from now). `wake`: Next
  // may have something; as WatchHub::Subscribe says. WATCH_ENDED while this server has no view to start from.
  absl::Status Subscribe(std::vector<std::string> organizations, const core::RevisionToken& resume,
                         std::function<void()> wake);
  bool subscribed() const { return subscription_ != nullptr; }
  // Each later one; the client sends the next when this one's Pong is written. `may_lend`: the caller's key was judged
  // good just now. FIELD_INVALID if `seq` does not rise.
  absl::Status OnPing(uint64_t seq, const std::optional<core::RevisionToken>& acknowledged, bool may_lend);

  // --- What is written ---
  // The next message; nullopt = nothing now, or the session is over: look at ended() then. After a Hello or a Pong has
  // been written the client's next message may be taken.
  std::optional<Message> Next();
  // Tells the client that this server is about to stop, with the next message.
  void StartDraining() { drain_due_ = true; }

  // Not OK (WATCH_ENDED): nothing more is written. Stays.
  const absl::Status& ended() const { return ended_; }
  // Called every now and then: ends the session of a client that has said nothing for three bounds, that has not
  // acknowledged a Pong for one, or that was told another bound than is promised now.
  void CheckLiveness();
  // The client has said something.
  void NoteHeard();

 private:
  // The answer that a Ping waits for.
  struct PendingPong {
    uint64_t seq = 0;
    bool may_lend = false;
    // Loaded before the rows are taken.
    bool loaded = false;
    core::RevisionToken revision;
    int64_t covers = 0;
    base::BootTime lease_until;
    core::HistoryId history = core::kNoHistory;
  };

  void End(absl::Status why);
  // True if the session is over for it.
  bool BoundHasChanged();
  void LoadLease(PendingPong& pong) const;
  std::optional<Message> NextPong();

  const Dependencies dependencies_;
  std::shared_ptr<WatchHub::Stream> subscription_;
  core::RevisionToken from_;
  bool resumed_ = false;
  core::HistoryId history_ = core::kNoHistory;
  bool hello_due_ = false;
  bool drain_due_ = false;
  std::optional<absl::Duration> told_bound_;  // In the Hello.
  std::optional<uint64_t> last_seq_;
  std::optional<PendingPong> pong_;
  int64_t sent_to_ = 0;  // The newest revision of a row that was given out.
  int64_t told_ = 0;     // The newest revision that the client may say it has applied.
  int64_t acknowledged_ = 0;
  // The oldest Pong that the client has not acknowledged.
  struct Unacknowledged {
    int64_t revision;
    base::BootTime since;
  };
  std::optional<Unacknowledged> unacknowledged_;
  base::BootTime heard_at_;
  absl::Status ended_;
};

}  // namespace latchkey::keys
