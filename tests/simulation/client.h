#pragma once

#include <memory>
#include <vector>

#include "client/src/cache/lease_cache.h"
#include "client/src/watcher.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/server.h"
#include "tests/simulation/simulated_timers.h"
#include "tests/simulation/watch_wire.h"
#include "tests/simulation/world.h"

namespace latchkey::simulation {

// A service with the client library: the real cache and the real watcher behind a simulated network. Verifies keys all
// the time, over whichever server chance picks.
class Client {
 public:
  // `caller`: its own key.
  Client(World& world, std::vector<std::unique_ptr<Server>>& servers, std::vector<SimulatedKey>& keys,
         const SimulatedKey& caller, Judge& judge, double grace);

  void Run();

 private:
  std::unique_ptr<client::WatchConnection> Open(uint64_t cache_stream, const std::optional<core::RevisionToken>& resume,
                                                client::WatchConnection::Events events);
  void VerifyOne(const SimulatedKey& key);
  void Undecided(const SimulatedKey& key);
  Server& AnyServer() { return *servers_[world_.Pick(static_cast<int>(servers_.size()))]; }

  World& world_;
  std::vector<std::unique_ptr<Server>>& servers_;
  std::vector<SimulatedKey>& keys_;
  const SimulatedKey& caller_;
  Judge& judge_;
  const double grace_;
  DriftingClock clock_;
  client::LeaseCache cache_;
  const VerifyParams params_;
  SimulatedTimers timers_;
  WatchWire::Connection* newest_ = nullptr;  // The last one that was opened, if it has not gone.
  client::Watcher watcher_;
};

}  // namespace latchkey::simulation
