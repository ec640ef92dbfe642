#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/keys/admin/key_registry.h"
#include "server/keys/admin/organizations.h"
#include "server/keys/admin/roles.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/revocation_waiter.h"
#include "server/keys/replication/watch_hub.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/usage_counter.h"
#include "server/rpc/call/caller.h"
#include "server/rpc/serving_state.h"
#include "server/rpc/transport/acceptor.h"
#include "server/rpc/transport/call_charge.h"

namespace latchkey::rpc {

// The gRPC server: KeyAdmin, KeyVerify, grpc.health.v1 and reflection on one plaintext listener. Whether the address is
// one that plaintext may be used on is the caller's to decide.
class RpcServer {
 public:
  // DeleteKeys, and UpdateKeys that may take something away, at a time: they wait for one row after another of the
  // change log, so more would not be faster.
  static constexpr int kRevocationWorkers = 4;

  struct Options {
    std::string listen = "127.0.0.1:50051";  // host:port, port 0 = a free one; or unix:PATH.
    int max_message_bytes = 64 * 1024;       // Of a request.
    int max_metadata_bytes = 8 * 1024;
    int admin_workers = 8;  // CreateKeys at a time, and other calls of KeyAdmin that revoke nothing.
    // StreamVerify streams of authenticated callers at a time, and Watch streams; of each, one key may hold half.
    size_t streams = 10'000;
    // What calls may hold; metadata_bytes comes from above.
    Admission::Limits limits = {};
    Acceptor::Limits accept = {};
    // gRPC accepts connections itself: then they are not bounded, and one that floods can't be shut.
    bool library_accept = false;
    int waiting_workers = 8;  // At least 4. Calls at a time that wait for the log, and DeleteKeys that do.
  };
  // What it serves; all outlive the server.
  struct Domain {
    keys::KeyRegistry& keys;
    keys::Organizations& organizations;
    keys::Roles& roles;
    keys::KeyVerifier& verifier;
    const keys::KeyRingHandle& ring;
    keys::KeyIndex& index;
    keys::LogFollower& follower;
    keys::WatchHub& hub;
    keys::UsageCounter& uses;
    keys::RevocationWaiter& revocations;
    const base::Clock& clock;
    ServingState& serving;
    // CallDependencies::observer.
    std::function<void(const Method& method, const absl::Status& status, absl::Duration took)> observer = {};
  };

  RpcServer(const Domain& domain, Options options);
  // Drains without grace if that was not done.
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Listens and serves; returns the bound port. FAILED_PRECONDITION with one clear line if the address can't be bound.
  // Once.
  absl::StatusOr<int> Start();

  // Grows while connections are accepted; always 0 with library_accept. After Start, until Drain.
  uint64_t accept_turns() const;

  // Tells health watchers NOT_SERVING and Watch clients Drain, refuses new calls, lets those in flight end within
  // `grace`, cancels the rest and joins. Blocks. Idempotent; not thread-safe.
  void Drain(absl::Duration grace);

 private:
  struct Running;
  const Domain domain_;
  const Options options_;
  std::unique_ptr<Running> running_;
};

}  // namespace latchkey::rpc
