#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/keys/replication/log_follower.h"
#include "server/model/doorbell.h"
#include "server/model/key_store.h"

namespace latchkey::keys {

// How long a revocation waits before it is answered.
enum class RevocationWait {
  kCommitted,  // Durable: refused by this server at once, by all within L.
  kServers,    // Until every live server refuses the key.
  kAll,        // Until every subscribed client cache does too.
};

// What is waited for.
struct RevokingChange {
  int64_t revision = 0;
  std::string organization;  // Whose change it is: only clients that hear of that can hold it up.
};

// Waits until a change has arrived everywhere. Never longer than L·(1+4ρ) from the commit: by then every server and
// cache that has not heard of it has lost its lease, so the key is dead either way. (If the database can't be asked
// what L is, the longest L there is counts: somebody may just have raised it.) Thread-safe.
class RevocationWaiter {
 public:
  using Pause = std::function<void(absl::Duration)>;

  // `doorbell` may be nullptr. `pause` sleeps; tests move a clock by hand instead.
  RevocationWaiter(storage::KeyStore& store, LogFollower& follower, Doorbell* doorbell, const base::Clock& clock,
                   Pause pause);

  // `committed_at`: any time after the commit returned. Blocks. OK = it is over everywhere that `wait` says, or nowhere
  // any more. DEADLINE_EXCEEDED if `deadline` came first: the change is committed all the same.
  absl::Status Await(const RevokingChange& change, RevocationWait wait, base::BootTime committed_at,
                     base::BootTime deadline);

  // Looks at the servers' beats, so that one that has died is known before anybody waits for it. A row is dead once its
  // beat was seen unchanged for L·(1+4ρ) on this server's CLOCK_BOOTTIME; after an hour it is taken away, by the beat
  // that was seen, so that one that has renewed since stays. Called each second or so.
  absl::Status Observe();

 private:
  struct Seen {
    int64_t beat = 0;
    base::BootTime at;
  };
  // Whether every live server has it. `bound`: L.
  absl::StatusOr<bool> Arrived(const RevokingChange& change, RevocationWait wait, absl::Duration bound);
  absl::StatusOr<std::vector<storage::Replica>> ReadAndNote();
  // Those of `replicas` whose beats were seen unchanged for so long, as of now.
  std::vector<storage::Replica> UnchangedFor(absl::Duration duration, const std::vector<storage::Replica>& replicas);

  storage::KeyStore& store_;
  LogFollower& follower_;
  Doorbell* const doorbell_;
  const base::Clock& clock_;
  const Pause pause_;
  std::mutex mutex_;
  std::map<std::string, Seen> seen_;
};

}  // namespace latchkey::keys
