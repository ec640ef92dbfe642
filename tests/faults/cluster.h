#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/core/clock.h"
#include "tests/faults/deployment.h"
#include "tests/faults/verifying_client.h"
#include "tests/support/tcp_proxy.h"

namespace latchkey::faults {

// Several servers on one database and several verifying clients, every link a proxy that can be broken: each server has
// its own to PostgreSQL, each client its own to each server that it knows. An administrator creates and revokes keys of
// organization `acme` over links that are never broken. L is 2 s. Not thread-safe.
class Cluster {
 public:
  struct Options {
    std::string database;  // EmbeddedPostgres::ConnectionString.
    int servers = 3;
    // The servers that each client knows, one entry a client.
    std::vector<std::vector<int>> clients;
    std::vector<std::string> server_flags = {};
    // The program that makes the database; "" = today's.
    std::string made_by = "";
    // The programs of the servers, in order; the rest are today's. They are started one after the other.
    std::vector<std::string> programs = {};
    // The clients that use release 0's library.
    std::set<int> release_zero_clients = {};
  };
  // All servers serve; fails the test otherwise.
  explicit Cluster(const Options& options);
  ~Cluster();

  static constexpr absl::Duration kBound = absl::Seconds(2);

  int servers() const { return static_cast<int>(servers_.size()); }
  ServerProcess& server(int server) { return *servers_[static_cast<size_t>(server)]; }
  testing::TcpProxy& database_link(int server) { return *database_links_[static_cast<size_t>(server)]; }
  // What leads from clients to this server.
  std::vector<testing::TcpProxy*> client_links(int server);
  const std::vector<std::unique_ptr<VerifyingClient>>& clients() const { return clients_; }
  Deployment& deployment() { return deployment_; }
  KeyTable& keys() { return keys_; }
  core::BootTime Now() const { return clock_.BootNow(); }

  // The servers that the administrator asks, in turn; all of them at first.
  void AdministerThrough(std::set<int> servers) { admin_servers_ = std::move(servers); }
  // A key that the clients verify from now on; its index. Fails the test if none can be made within half a minute.
  std::optional<size_t> Create();
  // Insists until a server says that it is deleted, and notes when.
  void Revoke(size_t key);
  // Keeps `live` keys alive: revokes the oldest and creates another, about each `pace`, for so long.
  void Churn(absl::Duration duration, int live, absl::Duration pace = absl::Milliseconds(25));

  // Until every client has a lease, and has been told since `since` about every key what it should be: DENIED for the
  // revoked, ALLOWED for the others. Fails the test, and is false, if that is not so within half a minute.
  bool WaitUntilAllAgree(core::BootTime since);

  // What came of the keys that were revoked since the last Tally.
  struct Summary {
    int revoked = 0;
    int pairs = 0;                     // (client, revoked key) that the client had accepted before.
    std::vector<absl::Duration> over;  // Of each: from the revocation's sending to the first question not ALLOWED.
    absl::Duration last_accept;        // The longest that an acceptance came after the revocation had returned.
    int64_t undecided = 0;             // Since the last Tally.
  };
  // Fails the test for every acceptance of a revoked key past the bound. Those that were in the last Tally already are
  // verified no longer after this.
  Summary Tally();

 private:
  // How long threads of this process had to wait for a processor, at most.
  class StallMeter;

  void SyncClients();
  void CheckAccepts(size_t client, size_t key, absl::Duration stall) const;

  const core::SystemClock clock_;
  Deployment deployment_;
  testing::TempDirectory directory_;
  std::vector<std::unique_ptr<testing::TcpProxy>> database_links_;
  std::map<std::pair<int, int>, std::unique_ptr<testing::TcpProxy>> client_links_;  // By (client, server).
  std::vector<std::unique_ptr<ServerProcess>> servers_;
  std::string owner_string_;
  std::vector<std::unique_ptr<Caller>> owners_;  // By server.
  std::set<int> admin_servers_;
  size_t turn_ = 0;
  size_t oldest_live_ = 0;
  size_t tallied_ = 0;  // Keys before it were in a Tally.
  int64_t undecided_before_ = 0;
  KeyTable keys_;
  std::unique_ptr<StallMeter> stalls_;
  std::vector<std::unique_ptr<VerifyingClient>> clients_;
};

// The smallest of `values` that at least `part` of them don't exceed; 0 if there are none.
absl::Duration Percentile(std::vector<absl::Duration> values, double part);

}  // namespace latchkey::faults
