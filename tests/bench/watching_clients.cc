#include "tests/bench/watching_clients.h"

#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "client/src/channel.h"
#include "client/src/watch_stream.h"
#include "tests/bench/bulk_keys.h"

namespace latchkey::bench {

WatchingClients::Client::Client(const core::Clock& clock, client::EventLoop& loop, const core::Secret& key,
                                const std::string& server)
    : cache({.capacity = 64, .negatives = 64}, clock),
      watcher(cache, clock, loop,
              [&clock, &loop, &key, server](uint64_t cache_stream, const std::optional<core::RevisionToken>& resume,
                                            client::WatchConnection::Events events) {
                return std::make_unique<client::WatchStream>(*client::MakeChannel(server, client::Sharing::kOwn), key,
                                                             clock, loop, cache_stream, resume, std::move(events));
              },
              nullptr, {.up = [](const std::shared_ptr<grpc::Channel>&) {}, .down = [] {}},
              {.caller_key = key.Expose(), .wall_now = absl::Now}) {}

WatchingClients::WatchingClients(const std::vector<std::string>& servers, const std::string& verifier_key, int count,
                                 int threads)
    : verifier_key_(std::string(verifier_key)) {
  for (int i = 0; i < threads; ++i) loops_.push_back(std::make_unique<client::EventLoop>(clock_));
  for (int i = 0; i < count; ++i) {
    clients_.push_back(
        std::make_unique<Client>(clock_, *loops_[i % threads], verifier_key_, servers[i % servers.size()]));
    clients_.back()->watcher.Start();
  }
}

WatchingClients::~WatchingClients() {
  std::latch stopped(size());
  for (const auto& client : clients_) client->watcher.Stop([&stopped] { stopped.count_down(); });
  stopped.wait();
  loops_.clear();
}

bool WatchingClients::HasLease(int client) const { return clock_.BootNow() < clients_[client]->cache.lease_until(); }

bool WatchingClients::WaitForLeases(absl::Duration patience) const {
  const core::BootTime until = clock_.BootNow() + patience;
  for (int i = 0; i < size(); ++i) {
    while (!HasLease(i)) {
      if (clock_.BootNow() >= until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  return true;
}

bool WatchingClients::InsertEverywhere(const std::string& key_string) {
  for (const auto& client : clients_) {
    client::LeaseCache::ServerAnswer answer;
    answer.decision = core::Decision::kAllowed;
    answer.identity = Identity({.organization = "acme",
                                .key_id = KeyIdOf(key_string),
                                .display_name = "bench key",
                                .role = "editor",
                                .permissions = {"app.read", "app.write"}});
    answer.revision = client->cache.Applied().revision;
    answer.lease_remaining = absl::Seconds(4);
    if (!client->cache.Insert(client->cache.BeginRequest(key_string), answer, {}).has_value()) return false;
    if (!client->cache.Find(key_string, {}).has_value()) return false;
  }
  return true;
}

}  // namespace latchkey::bench
