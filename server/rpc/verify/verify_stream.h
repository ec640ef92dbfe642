#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>

#include "absl/container/flat_hash_set.h"
#include "latchkey/v1/key_verify.grpc.pb.h"
#include "server/base/clock.h"
#include "server/keys/verify/async_verifier.h"
#include "server/keys/verify/key_verifier.h"
#include "server/rpc/call/security_log.h"
#include "server/rpc/transport/per_caller_limit.h"

namespace latchkey::rpc {

// The open StreamVerify streams. Each reads a batch at a time, answers what memory decides on gRPC's own thread in one
// message, and the rest in later messages as it is decided. Snapshot stops while 64 answers wait for a client that does
// not take them. Each second one thread looks at all streams: one whose caller is no longer good is ended though it
// says nothing, and one whose client has taken nothing of an answer for 30 s is cancelled. Thread-safe.
class VerifyStreams {
 public:
  using Reactor = grpc::ServerBidiReactor<v1::StreamVerifyRequest, v1::StreamVerifyResponse>;

  // What it works with; all outlive it.
  struct Dependencies {
    keys::KeyVerifier& verifier;
    keys::AsyncVerifier& async_verifier;
    const base::Clock& clock;
    SecurityLog& security_log;
  };
  // `limit`: streams at a time, half of them by one key; beyond it WORKERS_BUSY.
  explicit VerifyStreams(const Dependencies& parts, size_t limit);
  // Streams must be gone.
  ~VerifyStreams();
  VerifyStreams(const VerifyStreams&) = delete;
  VerifyStreams& operator=(const VerifyStreams&) = delete;

  Reactor* Open(grpc::CallbackServerContext& context);
  // Every stream answers what it has read and ends with SHUTTING_DOWN; so does each one opened later. Doesn't wait.
  void StartDraining();

 private:
  class Stream;
  void SweepEachSecond();

  const Dependencies dependencies_;
  const size_t limit_;
  PerCallerLimit places_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool draining_ = false;
  bool stopping_ = false;
  absl::flat_hash_set<Stream*> open_;
  std::thread sweeper_;
};

}  // namespace latchkey::rpc
