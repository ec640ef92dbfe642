#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/app/listener_watchdog.h"
#include "server/app/options.h"
#include "server/app/state_directory.h"
#include "server/base/clock.h"
#include "server/base/periodic.h"
#include "server/base/timed_loop.h"
#include "server/doorbell/peer_doorbell.h"
#include "server/keys/admin/key_registry.h"
#include "server/keys/admin/organizations.h"
#include "server/keys/admin/roles.h"
#include "server/keys/crypto/hash_pool.h"
#include "server/keys/crypto/key_minter.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/lease_renewer.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/revocation_waiter.h"
#include "server/keys/replication/watch_hub.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/secret_checker.h"
#include "server/keys/verify/usage_counter.h"
#include "server/model/doorbell.h"
#include "server/rpc/rpc_server.h"
#include "server/rpc/serving_state.h"
#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"

namespace latchkey::app {

// The composition root: one server on one database, from the listener down to the connection pool. It listens at once
// and answers NOT_SERVING until the database is there. Threads of its own prepare the database, keep the lease, write
// what was counted and proven, and keep the state directory.
//
// Start, UpdateHealth and Drain belong to one thread.
class Server {
 public:
  // `migrate`: bring the schema up to date first; otherwise one that is not is fatal. Errors: an address can't be
  // listened on; a state directory that can't be used or is damaged.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServiceOptions& options,
                                                       std::unique_ptr<keys::KeyRingHandle> ring,
                                                       const std::string& connection_string, bool migrate);
  ~Server();

  // Brings the health answers up to date; call it several times a second, as a lease may end at any moment.
  void UpdateHealth();
  // Verify answers.
  bool ready() const;
  // HOST:PORT, with the port that was bound.
  const std::string& address() const { return address_; }
  // Why this process must end: a wrong key ring, a schema this build can't use, a database with another history. OK
  // while it need not.
  absl::Status fatal() const { return renewer_.fatal(); }

  // NOT_SERVING, then waits for the calls in flight, then leaves the replicas, writes what is not written yet and stops
  // everything. Idempotent.
  void Drain(absl::Duration grace);

 private:
  // Rings here and at the others: a waiter waits for its own server too.
  class DoorbellFanout final : public keys::Doorbell {
   public:
    explicit DoorbellFanout(keys::LeaseRenewer& own) : own_(own) {}
    void SetOthers(std::unique_ptr<keys::Doorbell> others) { others_ = std::move(others); }
    void Ring(int64_t revision, bool waiting) override;

   private:
    keys::LeaseRenewer& own_;
    std::unique_ptr<keys::Doorbell> others_;
  };
  // What Start has made before there is a service.
  struct Dependencies {
    std::unique_ptr<doorbell::PeerDoorbell> peers;  // --doorbell=peer.
    std::unique_ptr<StateDirectory> state;          // --state-dir.
    keys::LogPosition followed;                     // What it held; chain "" = nothing.
  };

  Server(const ServiceOptions& options, std::unique_ptr<keys::KeyRingHandle> ring, const std::string& connection_string,
         bool migrate, Dependencies parts);
  void StartDoorbell(const ServiceOptions& options, std::unique_ptr<doorbell::PeerDoorbell> peers);
  void StartWatchdog(double seconds);
  absl::Status Prepare();
  absl::Status ExplainRefusal(const absl::Status& status) const;
  void FlushUses();
  void RunMaintenance();
  void SavePosition();
  absl::Status Deregister();

  const base::SystemClock clock_;
  const std::string connection_string_;
  const bool migrate_;
  const std::unique_ptr<keys::KeyRingHandle> ring_;
  const std::string replica_;  // Random, a new one with every start.
  const std::unique_ptr<StateDirectory> state_;
  std::unique_ptr<storage::KeyStore> store_;
  // Sessions of their own: however many calls wait for one, revocations are written and waited for, and the lease is
  // renewed.
  std::unique_ptr<storage::KeyStore> revocation_store_;
  std::unique_ptr<storage::KeyStore> follower_store_;
  keys::KeyIndex index_;
  keys::WatchHub hub_;
  keys::LogFollower follower_;
  keys::HashPool hashes_;
  keys::KeyMinter minter_;
  keys::UsageCounter uses_;
  keys::SecretChecker checker_;
  keys::KeyVerifier verifier_;
  keys::KeyRegistry keys_;
  keys::Organizations organizations_;
  keys::Roles roles_;
  // Before what wakes them.
  base::TimedLoop renewals_{clock_};
  base::TimedLoop catch_ups_{clock_};
  keys::LeaseRenewer renewer_;
  DoorbellFanout doorbells_;
  doorbell::PeerDoorbell* peers_ = nullptr;  // If there is one; doorbells_ owns it.
  keys::RevocationWaiter waiter_;
  rpc::ServingState serving_;
  std::unique_ptr<rpc::RpcServer> rpc_;
  std::string address_;

  base::BootTime flush_uses_at_;     // The flusher's.
  base::BootTime flush_reports_at_;  // Likewise.
  int64_t dropped_uses_ = 0;         // Likewise.
  bool position_complaint_ = false;  // The maintenance's.
  std::unique_ptr<ListenerWatchdog> watchdog_;
  base::Periodic flusher_;
  base::Periodic maintenance_;
  bool drained_ = false;
};

// Names this server in the audit: "host:pid".
std::string ServerName();

// max(1, cores / 2) unless the options say otherwise.
keys::HashPool::Options HashPoolOptions(const ServiceOptions& options);

// How the server reaches a database: short time-outs, so that an outage is noticed well within L.
std::unique_ptr<storage::KeyStore> OpenStore(const std::string& connection_string, int connections);

// The schema of a database that this build can serve on; FAILED_PRECONDITION as storage::CheckSchemaState.
absl::StatusOr<storage::SchemaState> CheckSchema(const std::string& connection_string);

}  // namespace latchkey::app
