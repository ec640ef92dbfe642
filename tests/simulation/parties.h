#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/src/cache/lease_cache.h"
#include "server/keys/crypto/key_ring.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/watch_hub.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/secret_checker.h"
#include "tests/simulation/remote_store.h"
#include "tests/simulation/schedule.h"
#include "tests/simulation/world.h"
#include "tests/support/memory_store/memory_key_store.h"

namespace latchkey::simulation {

inline constexpr double kBound = 5;  // L, as a new database has it.
inline constexpr char kOrganization[] = "acme";

// A key of the schedule, and when it stopped being good.
struct SimulatedKey {
  std::string kid;
  std::string text;
  std::string role;
  std::string organization = kOrganization;
  std::optional<double> dead_at;
  int64_t revoked_by = 0;  // The revision that did it.
};

// Judges every accept.
class Judge {
 public:
  explicit Judge(World& world) : world_(world) {}
  // At this moment `who` lets the key in. `more`: grace, in seconds.
  void Accept(const SimulatedKey& key, const char* who, double more = 0);
  Outcome outcome;

 private:
  World& world_;
};

class Client;

// The real index, follower, hub and verifier behind a simulated network.
class Server {
 public:
  Server(World& world, storage::KeyStore& database, const keys::KeyRing& ring, Judge& judge, int number, int page);

  // Follows the log for ever.
  void Run();
  // A doorbell's ring: reads if it is not reading already.
  void Ring();
  // Own rows, as soon as the follower is free.
  void Deliver(const std::vector<keys::LogRow>& rows);
  absl::StatusOr<keys::Verdict> Verify(const SimulatedKey& key);

  // One client's Watch, served as rpc does it.
  class Session;
  std::shared_ptr<Session> Subscribe(Client& client, uint64_t stream, std::optional<core::RevisionToken> resume);

  const DriftingClock& clock() const { return clock_; }
  RemoteStore& store() { return store_; }
  std::string LinkToClient() const { return "s" + std::to_string(number_) + "-c"; }

 private:
  friend class Session;
  World& world_;
  Judge& judge_;
  const int number_;
  DriftingClock clock_;
  RemoteStore store_;
  const keys::KeyRing& ring_;
  keys::KeyIndex index_;
  keys::WatchHub hub_;
  keys::LogFollower follower_;
  keys::SecretChecker checker_;
  keys::KeyVerifier verifier_;
  bool reading_ = false;
};

// A server's end of one stream: messages leave in order, and a cut link holds them up until it heals, as TCP does.
class Server::Session : public std::enable_shared_from_this<Server::Session> {
 public:
  Session(Server& server, Client& client, uint64_t stream) : server_(server), client_(client), stream_(stream) {}
  void Begin(std::optional<core::RevisionToken> resume);
  void Ping(core::BootTime sent_at, const core::RevisionToken& acknowledged);
  void Close() { closed_ = true; }

 private:
  void Drain();
  void Send(std::function<void()> deliver);

  Server& server_;
  Client& client_;
  const uint64_t stream_;
  std::shared_ptr<keys::WatchHub::Stream> watch_;
  double last_arrival_ = 0;
  bool closed_ = false;
};

// The real cache behind a simulated network: verifies keys all the time, over whichever server chance picks.
class Client {
 public:
  Client(World& world, std::vector<std::unique_ptr<Server>>& servers, std::vector<SimulatedKey>& keys, Judge& judge,
         double grace);

  void Run();
  client::LeaseCache& cache() { return cache_; }

 private:
  void Connect();
  void PingFor(uint64_t stream, Server& server, std::shared_ptr<Server::Session> session);
  void VerifyOne(const SimulatedKey& key);
  void Undecided(const SimulatedKey& key);

  World& world_;
  std::vector<std::unique_ptr<Server>>& servers_;
  std::vector<SimulatedKey>& keys_;
  Judge& judge_;
  const double grace_;
  DriftingClock clock_;
  client::LeaseCache cache_;
  const VerifyParams params_;
  std::shared_ptr<Server::Session> session_;
  uint64_t stream_ = 0;
};

}  // namespace latchkey::simulation
