#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <memory>
#include <thread>

#include "latchkey/v1/key_verify.grpc.pb.h"
#include "server/base/clock.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/watch_hub.h"
#include "server/keys/verify/key_verifier.h"
#include "server/rpc/call/security_log.h"

namespace latchkey::rpc {

// The open Watch streams: Hello, every Invalidate in order, a Pong for each Ping, Drain. Messages that answer the
// client are written on gRPC's own threads; what the log brings is written by one thread for all streams, so that the
// follower never waits for a socket. The same thread looks at all streams each second and ends those whose client is
// silent, and those that were told another bound than is promised now (WATCH_ENDED). Thread-safe.
class WatchStreams {
 public:
  using Reactor = grpc::ServerBidiReactor<v1::WatchRequest, v1::WatchResponse>;

  // What it works with; all outlive it.
  struct Dependencies {
    keys::KeyVerifier& verifier;
    keys::WatchHub& hub;
    const keys::KeyIndex& index;
    const keys::LogFollower& follower;
    const base::Clock& clock;
    SecurityLog& security_log;
  };
  // `limit`: streams at a time, half of them by one key; beyond it WORKERS_BUSY.
  explicit WatchStreams(const Dependencies& parts, size_t limit);
  // Streams must be gone.
  ~WatchStreams();
  WatchStreams(const WatchStreams&) = delete;
  WatchStreams& operator=(const WatchStreams&) = delete;

  Reactor* Open(grpc::CallbackServerContext& context);
  // Every stream is told Drain, and ended with SHUTTING_DOWN a second later; one opened later is refused. Doesn't wait.
  void StartDraining();

 private:
  class Stream;
  struct Shared;
  void Work();

  const Dependencies dependencies_;
  const size_t limit_;
  const std::shared_ptr<Shared> shared_;  // The hub may wake a stream of ours while we are gone already.
  std::thread writer_;
};

}  // namespace latchkey::rpc
