#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/core/clock.h"
#include "client/core/secret.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/event_loop.h"
#include "client/src/watcher.h"

namespace latchkey::bench {

// So many services that cache, in this process: each the client library's own cache and Watch stream, over a
// connection of its own.
class WatchingClients {
 public:
  // In turn over `servers`. `threads`: of the library, on which the streams live; a real client has one of its own.
  WatchingClients(const std::vector<std::string>& servers, const std::string& verifier_key, int count, int threads);
  ~WatchingClients();

  // False if not all of them hold a lease within `patience`.
  bool WaitForLeases(absl::Duration patience) const;

  int size() const { return static_cast<int>(clients_.size()); }
  client::LeaseCache& cache(int client) { return clients_[client]->cache; }
  bool HasLease(int client) const;
  // Puts a verified key into every cache, as an answer of the present moment would. False if one does not take it.
  bool InsertEverywhere(const std::string& key_string);

 private:
  struct Client {
    Client(const core::Clock& clock, client::EventLoop& loop, const core::Secret& key, const std::string& server);
    client::LeaseCache cache;
    client::Watcher watcher;
  };

  const core::SystemClock clock_;
  const core::Secret verifier_key_;
  std::vector<std::unique_ptr<client::EventLoop>> loops_;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace latchkey::bench
