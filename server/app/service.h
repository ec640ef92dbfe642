#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "server/app/options.h"
#include "server/base/clock.h"
#include "server/keys/hash_pool.h"
#include "server/keys/key_index.h"
#include "server/keys/key_minter.h"
#include "server/keys/key_registry.h"
#include "server/keys/key_ring.h"
#include "server/keys/key_verifier.h"
#include "server/keys/log_follower.h"
#include "server/keys/organization_registry.h"
#include "server/keys/role_registry.h"
#include "server/rpc/rpc_server.h"
#include "server/rpc/serving_state.h"
#include "server/storage/postgres/postgres_key_store.h"

namespace latchkey::app {

// The composition root: one server on one database, from the listener down to the connection pool. It listens at once
// and answers NOT_SERVING until the database is there; a thread of its own prepares the database, then follows the log.
//
// Start, Tick and Drain belong to one thread.
class Service {
 public:
  // `migrate`: bring the schema up to date first; otherwise one that is not is fatal. Errors: the address can't be
  // listened on.
  static absl::StatusOr<std::unique_ptr<Service>> Start(const ServiceOptions& options, keys::KeyRing ring,
                                                        const std::string& connection_string, bool migrate);
  ~Service();

  // Brings the health answers up to date; call it several times a second, as a lease may end at any moment.
  void Tick();
  // Verify answers.
  bool ready() const;
  // HOST:PORT, with the port that was bound.
  const std::string& address() const { return address_; }
  // Why this process must end: a wrong key ring, a schema this build can't use. OK while it need not.
  absl::Status fatal() const;

  // NOT_SERVING, then waits for the calls in flight, then stops everything. Idempotent.
  void Drain(absl::Duration grace);

 private:
  Service(const ServiceOptions& options, keys::KeyRing ring, const std::string& connection_string, bool migrate);
  void Follow();
  absl::Status Prepare();
  void NoteDatabase(const absl::Status& status);
  void LogAnchor();

  const base::SystemClock clock_;
  const std::string connection_string_;
  const bool migrate_;
  const keys::KeyRing ring_;
  std::unique_ptr<storage::KeyStore> store_;
  // A connection of its own: however many calls wait for one, the lease is renewed.
  std::unique_ptr<storage::KeyStore> follower_store_;
  keys::KeyIndex index_;
  keys::LogFollower follower_;
  keys::HashPool hashes_;
  keys::KeyMinter minter_;
  keys::KeyVerifier verifier_;
  keys::KeyRegistry keys_;
  keys::OrganizationRegistry organizations_;
  keys::RoleRegistry roles_;
  rpc::ServingState serving_;
  std::unique_ptr<rpc::RpcServer> rpc_;
  std::string address_;

  std::atomic<bool> database_ok_{false};
  // When the last poll that succeeded was sent; health must not wait for one that hangs.
  std::atomic<int64_t> database_ok_at_ns_{0};
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  absl::Status fatal_;
  std::thread follow_;
};

// Names this server in the audit: "host:pid".
std::string ServerName();

// max(1, cores / 2) unless the options say otherwise.
keys::HashPool::Options HashPoolOptions(const ServiceOptions& options);

// How the server reaches a database: short time-outs, so that an outage is noticed well within L.
std::unique_ptr<storage::KeyStore> OpenStore(const std::string& connection_string, int connections);

}  // namespace latchkey::app
