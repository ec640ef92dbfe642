#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/keys/crypto/key_ring_handle.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/lease_renewer.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/revocation_waiter.h"
#include "server/keys/replication/watch_hub.h"
#include "server/keys/replication/watch_session.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/secret_checker.h"
#include "server/model/doorbell.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/remote_store.h"
#include "tests/simulation/world.h"

namespace latchkey::simulation {

// A latchkeyd without its rpc: the real index, follower, lease renewer, hub, verifier and waiter behind a simulated
// network.
class Server {
 public:
  // `doorbell`: how the others are rung.
  Server(World& world, storage::KeyStore& database, const keys::KeyRingHandle& ring, Judge& judge, int number, int page,
         keys::Doorbell& doorbell);

  // Follows the log for ever.
  void Run();
  // A doorbell's ring.
  void Heard(int64_t revision, bool waiting) { renewer_.Heard(revision, waiting); }
  // Own rows, as soon as the follower is free.
  void Deliver(const storage::Committed& committed);
  absl::StatusOr<keys::Verdict> Verify(const SimulatedKey& key);

  // Whether a Watch's caller is good, as rpc asks it before each message. UNAVAILABLE while nothing can be proven.
  absl::Status JudgeCaller(const SimulatedKey& caller);
  // From `from` to `until` no string can be proven here: callers can't be judged.
  void ProveNothing(double from, double until);
  // It names no history from now on, as a server of release 0.
  void TellNoHistory() { tells_history_ = false; }
  core::HistoryId Told(core::HistoryId history) const { return tells_history_ ? history : core::kNoHistory; }
  // As DeleteKey{wait: ALL}: blocks.
  absl::Status AwaitAll(const keys::RevokingChange& change);

  keys::WatchSession::Dependencies watch() { return {hub_, index_, follower_, clock_}; }
  const DriftingClock& clock() const { return clock_; }
  RemoteStore& store() { return store_; }
  Judge& judge() { return judge_; }
  std::string LinkToClient() const { return "s" + std::to_string(number_) + "-c"; }

 private:
  void RenewIfDue();
  void CatchUp();
  // One reading of the log at a time: the others wait, as they do for the follower's mutex.
  template <typename Work>
  void WithFollower(const Work& work);

  World& world_;
  Judge& judge_;
  const int number_;
  DriftingClock clock_;
  RemoteStore store_;
  keys::KeyIndex index_;
  keys::WatchHub hub_;
  keys::LogFollower follower_;
  keys::SecretChecker checker_;
  keys::KeyVerifier verifier_;
  keys::LeaseRenewer renewer_;
  keys::RevocationWaiter waiter_;
  bool follower_is_busy_ = false;
  bool tells_history_ = true;
  bool renewing_ = false;
  bool renew_again_ = false;
  bool catching_up_ = false;  // Waits for the follower.
  uint64_t timer_ = 0;        // The last one that was set; older ones do nothing.
  double proves_nothing_from_ = 1e18;
  double proves_nothing_until_ = 1e18;
};

}  // namespace latchkey::simulation
