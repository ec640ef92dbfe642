#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/core/clock.h"
#include "client/src/backoff.h"
#include "client/src/cache/counters.h"
#include "client/src/cache/lease_cache.h"
#include "client/src/timers.h"
#include "client/src/watch_connection.h"
#include "latchkey/metrics.h"

namespace latchkey::client {

// Keeper of the cache's lease: holds one Watch stream open, subscribes, pings each min(1 s, L/5), applies what
// it hears, opens another stream when one ends, falls silent (no Pong for 2.5 pings) or is about to end (Drain). Each
// stream has a channel of its own: a server that is lost or leaves is not met again over the old connection.
//
// Knows no gRPC: what it opens is a WatchConnection. Lives on its timers; Start, Stop and the numbers are for any
// thread.
class Watcher {
 public:
  struct Events {
    // All on the timers. A stream has said Hello: its channel leads to a server that works.
    std::function<void(const std::shared_ptr<grpc::Channel>&)> up;
    // No stream is up any more.
    std::function<void()> down;
  };
  // Opens a stream that subscribes, resuming where it is told to.
  using Open = std::function<std::unique_ptr<WatchConnection>(
      uint64_t cache_stream, const std::optional<core::RevisionToken>& resume, WatchConnection::Events events)>;
  struct Options {
    // Taken out of what the observer is told.
    std::string_view caller_key;  // Outlives the watcher.
    // The wall clock, a hint for when to ping; and what the backoff is drawn by.
    std::function<absl::Time()> wall_now;
    uint32_t seed = std::random_device{}();
  };

  Watcher(LeaseCache& cache, const core::Clock& clock, Timers& timers, Open open,
          std::shared_ptr<VerifierObserver> observer, Events events, Options options);
  ~Watcher();  // After `stopped`.

  void Start();
  // `stopped` runs on the timers when nothing of any stream is left.
  void Stop(std::function<void()> stopped);

  // Fills in what is known here.
  void AddTo(VerifierStats& stats) const;

 private:
  void Connect();
  void ConnectLater();
  void Heard(WatchConnection& stream, const v1::WatchResponse& message);
  void Hello(WatchConnection& stream, const v1::WatchResponse::Hello& hello);
  void Invalidate(WatchConnection& stream, const v1::WatchResponse::Invalidate& what);
  void Pong(WatchConnection& stream, const v1::WatchResponse::Pong& pong);
  void Drain();
  void Gone(WatchConnection& stream, const absl::Status& status);
  // Gives up the present stream and opens another.
  void Replace(const absl::Status& why);
  void OnDown(const absl::Status& why);
  // The regular business: pings, silence, the lease's coming and going.
  void CheckStream(uint64_t era);
  void PingNow();
  void PingSoon();
  void NoteLease();

  LeaseCache& cache_;
  const core::Clock& clock_;
  Timers& timers_;
  const Open open_;
  const std::shared_ptr<VerifierObserver> observer_;
  const Events events_;
  const Options options_;

  // --- On the timers ---
  std::list<std::unique_ptr<WatchConnection>> streams_;  // The present one, and those that are ending.
  WatchConnection* present_ = nullptr;
  bool greeted_ = false;  // It has said Hello.
  uint64_t era_ = 0;      // Counts streams: a timer of an older one does nothing.
  Backoff backoff_;
  absl::Duration interval_;
  core::BootTime heard_at_;  // Of Hello, then of the last Pong.
  core::BootTime pinged_at_;
  bool ping_is_due_ = false;
  bool had_lease_ = false;
  bool stopping_ = false;
  std::function<void()> stopped_;

  // --- For AddTo ---
  std::atomic<bool> watching_{false};
  std::atomic<int64_t> max_staleness_ns_{0};
  std::atomic<int64_t> lease_from_ns_{0};
  Counter connects_, resumes_, breaks_, drains_, invalidations_;
};

}  // namespace latchkey::client
