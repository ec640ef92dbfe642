#pragma once

#include <cstddef>
#include <memory>
#include <thread>

#include "server/base/clock.h"
#include "server/base/rate_limiter.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/watch_hub.h"
#include "server/rpc/call/call.h"
#include "server/rpc/transport/stream_registry.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// The open Watch streams: each drives a keys::WatchSession. Messages that answer the client are written on the
// transport's own threads; what the log brings is written by one thread for all streams, so that the follower never
// waits for a socket. The same thread looks at all streams each second and ends those whose session is over, or whose
// caller is no longer good. One key may subscribe 200 times a second (2,000 times at once), so that the copies of what
// was missed stay few. Thread-safe.
class WatchStreams {
 public:
  // What it works with; all outlive it.
  struct Dependencies {
    const CallDependencies& calls;
    keys::WatchHub& hub;
    const keys::KeyIndex& index;
    const keys::LogFollower& follower;
    const base::Clock& clock;
  };
  // `limit`: streams at a time, half of them by one key; beyond it WORKERS_BUSY.
  WatchStreams(const Dependencies& dependencies, size_t limit);
  // Streams must be gone.
  ~WatchStreams();
  WatchStreams(const WatchStreams&) = delete;
  WatchStreams& operator=(const WatchStreams&) = delete;

  std::shared_ptr<StreamHandler> Open(StreamCall& call);
  // Every stream is told Drain, and ended with SHUTTING_DOWN a second later; one opened later is refused. Doesn't wait.
  void StartDraining();

 private:
  class Stream;
  struct Shared;
  void Work();

  const Dependencies dependencies_;
  StreamRegistry registry_;
  base::RateLimiter subscribes_;          // By key.
  const std::shared_ptr<Shared> shared_;  // The hub may wake a stream of ours while we are gone already.
  std::thread writer_;
};

}  // namespace latchkey::rpc
