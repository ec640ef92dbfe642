#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <mutex>

#include "absl/container/flat_hash_set.h"
#include "latchkey/v1/key_verify.grpc.pb.h"
#include "server/keys/key_verifier.h"
#include "server/rpc/decider.h"
#include "server/rpc/security_log.h"

namespace latchkey::rpc {

// The open StreamVerify streams. Each reads a batch at a time, answers what memory decides on gRPC's own thread in one
// message, and the rest in later messages as it is decided. Reading stops while 64 answers wait for a client that does
// not take them. Thread-safe.
class VerifyStreams {
 public:
  using Reactor = grpc::ServerBidiReactor<v1::StreamVerifyRequest, v1::StreamVerifyResponse>;

  // `limit`: streams at a time; beyond it WORKERS_BUSY. The others outlive it.
  VerifyStreams(keys::KeyVerifier& verifier, Decider& decider, SecurityLog& security_log, size_t limit = 10'000)
      : verifier_(verifier), decider_(decider), security_log_(security_log), limit_(limit) {}
  VerifyStreams(const VerifyStreams&) = delete;
  VerifyStreams& operator=(const VerifyStreams&) = delete;

  Reactor* Open(grpc::CallbackServerContext& context);
  // Every stream answers what it has read and ends with SHUTTING_DOWN; so does each one opened later. Doesn't wait.
  void StartDraining();

 private:
  class Stream;

  keys::KeyVerifier& verifier_;
  Decider& decider_;
  SecurityLog& security_log_;
  const size_t limit_;
  std::mutex mutex_;
  bool draining_ = false;
  absl::flat_hash_set<Stream*> open_;
};

}  // namespace latchkey::rpc
