#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/core/revision_token.h"
#include "server/base/clock.h"
#include "server/keys/replication/invalidation_log.h"
#include "server/model/key_store.h"
#include "server/model/records.h"

namespace latchkey::keys {

// Hands every change of the log to every subscribed client, in order and without gaps: a change is never dropped from a
// stream, a stream that can't keep up is ended. Fed by LogFollower, drained by rpc.
//
// The follower publishes a row to the index, then here, and only then grants a lease that covers it. So whoever answers
// a Ping does it in this order: position(); the index's snapshot; Take until the stream is empty; ended(). Then the
// client has been told of everything that the snapshot's lease covers, and of everything up to the position, which is
// what the Pong says. (Not the snapshot's revision: its row may be in the index and not here yet.)
//
// Thread-safe. `wake` functions are called without any lock of the hub's held, so they may call the hub and its
// streams.
class WatchHub {
 public:
  struct Options {
    // Invalidations of one stream that wait to be written or acknowledged before it is ended.
    size_t queue = 10'000;
    size_t history = 65'536;  // Rows that a stream may resume over.
  };

  // One subscriber; thread-safe. Destroying it unsubscribes.
  class Stream {
   public:
    ~Stream();
    // Takes at most `limit` queued invalidations, oldest first; empty if there are none.
    // Who leaves some behind comes back without being woken. Nothing once the stream has ended.
    std::vector<Invalidation> Take(size_t limit);
    // Not OK: the stream is over (WATCH_ENDED), nothing more will come and no lease may be granted on it. Look at it
    // AFTER Take and before anything is written that grants time.
    absl::Status ended() const;
    // The client has applied everything up to here, which it has been told; from its Ping. Never goes back.
    void Acknowledge(int64_t revision);
    // A Pong lends the client time until here, on this server's clock, its error allowed for: so long it may believe
    // what it has, whatever becomes of the stream. Before the Pong is written. False: the stream has ended, and nobody
    // would wait for this lease, so it must not be given.
    [[nodiscard]] bool Grant(base::BootTime until);

   private:
    friend class WatchHub;
    using Row = InvalidationLog::Row;

    Stream(WatchHub& hub, std::vector<std::string> organizations, std::function<void()> wake);
    bool Wants(const Invalidation& row) const;
    // Of what it wants, the client has applied everything up to here. `position`: the hub's. Under mutex_.
    int64_t AppliedLocked(int64_t position) const;
    // Queues it, or ends the stream if its queue is full: false. `wake`: whether it has to be called.
    bool Push(const Row& row, bool& wake);
    void End(const absl::Status& why);

    WatchHub& hub_;
    const std::vector<std::string> organizations_;  // Sorted; empty = all.
    const std::function<void()> wake_;
    mutable std::mutex mutex_;
    std::deque<Row> queue_;  // One copy of a row for all streams and the history.
    bool woken_ = false;     // Since the last Take.
    absl::Status ended_;
    // Rows that it wants, queued or written, that the client has not said to have applied.
    std::deque<Row> owed_;
    // What it has applied for certain where owed_ can't say: while it is being resumed, and, 0, of a client that was to
    // be resumed and could not be, before its first Acknowledge.
    std::optional<int64_t> applied_;
    int64_t starts_at_ = 0;
    base::BootTime granted_;
  };

  struct Subscription {
    std::shared_ptr<Stream> stream;
    // Where the stream starts: every change after it will come.
    core::RevisionToken from;
    // The client may keep what it remembers from before: it is told of everything since `resume`.
    bool resumed = false;
  };

  WatchHub() : WatchHub(Options()) {}
  explicit WatchHub(Options options);
  ~WatchHub();  // Streams must be gone.

  // `organizations`: whose changes to hear of; empty = all. `resume`: where an earlier stream ended; revision 0 = none.
  // It is resumed only if that is a position of this history and the hub still has every row since, and not more of the
  // stream's than its queue holds; those are in the queue when this returns. WATCH_ENDED while there is no view to
  // start from.
  //
  // `wake` (may be empty) is called, on any thread, after something was queued since the last Take, and after the
  // stream ended; not for what a resumed stream begins with. It must be short. It is called while a reference to the
  // Stream is held, and may begin after the caller let go of its own: so it must own (or hold weakly) whatever it
  // touches, and the Stream's destructor may run on the thread that wakes it.
  absl::StatusOr<Subscription> Subscribe(std::vector<std::string> organizations, core::RevisionToken resume,
                                         std::function<void()> wake);

  // --- The follower ---
  // A view at `position` is in the index: streams may begin, and resume from there. Forgets the history, and ends what
  // streams there are, unless the history ends at `position`.
  void Start(const LogPosition& position);
  // The next row is in the index. Ignored before Start; a row that is not the next ends every stream, as EndAll.
  void Publish(const LogPosition& position, const Change& change);
  // History was rewritten, or rows may have been lost: ends every stream before it returns, lets none begin until
  // Start, and none resume from before that.
  void EndAll(const std::string& why);

  // The last row that was published, or where the hub was started; revision 0 while there is no view.
  core::RevisionToken position() const;

  // How far the clients are, by organization, at most `applied`. A client counts as having acknowledged what it does
  // not want. A stream that was to be resumed and could not be has acknowledged nothing before its first Acknowledge. A
  // client whose stream is gone counts as long as it may believe in the last lease it was lent.
  storage::Acknowledgements AcknowledgedBy(int64_t applied, base::BootTime now);
  // Of those that have not ended.
  size_t stream_count() const;

 private:
  struct Subscriber {
    Stream* stream;  // Valid under mutex_: the destructor takes it off this list.
    std::weak_ptr<Stream> owner;
  };
  using Streams = std::vector<std::shared_ptr<Stream>>;
  // A client whose stream is gone, until its lease is over.
  struct Departed {
    std::vector<std::string> organizations;  // Whose changes it wants; empty = all.
    int64_t acknowledged;
    base::BootTime until;
  };
  class AcknowledgedSoFar;

  // It is gone, or has ended. Under mutex_.
  void NoteDepartedLocked(const Stream& stream);
  void Forget(Stream* stream);
  // Both under mutex_; what they return must be woken, and let go of, without it.
  Streams EndAllLocked(const std::string& why);
  Streams PublishLocked(const Stream::Row& row);
  void DropOldestLocked();
  static void WakeAll(const Streams& streams);
  // Whether history_ has the row that is at `position`.
  bool KnowsLocked(const core::RevisionToken& position) const;
  // The rows after `revision` that a stream of `organizations` may want; nullopt = more than its queue holds.
  std::optional<std::vector<InvalidationLog::View>> MissedLocked(const std::vector<std::string>& organizations,
                                                                 int64_t revision) const;

  const Options options_;
  mutable std::mutex mutex_;
  bool started_ = false;
  // Rows without gaps in their revisions, oldest first; the last is where the hub is, and if it was started there it is
  // no change but a mark. Never empty while started. Marks and rows that no cache has to hear of have organization "".
  InvalidationLog history_;
  // The same rows by organization, so that a resume looks at nobody else's.
  absl::flat_hash_map<std::string, InvalidationLog> history_of_;
  std::vector<Subscriber> subscribers_;  // Those that have not ended.
  std::vector<Departed> departed_;
};

}  // namespace latchkey::keys
