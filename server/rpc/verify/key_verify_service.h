#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "latchkey/v1/key_verify.grpc.pb.h"
#include "server/base/clock.h"
#include "server/base/worker_pool.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/watch_hub.h"
#include "server/keys/verify/async_verifier.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/usage_counter.h"
#include "server/rpc/call/call.h"
#include "server/rpc/verify/verify_stream.h"
#include "server/rpc/verify/watch_stream.h"

namespace latchkey::rpc {

// latchkey.v1.KeyVerify. Memory answers on gRPC's own threads; a secret that is not proven yet is the SecretChecker's
// business, on threads of its own; only min_revision and fresh wait on `waiting`. Thread-safe.
class KeyVerifyService final : public v1::KeyVerify::CallbackService {
 public:
  // What it works with; all outlive the service.
  struct Dependencies {
    keys::KeyVerifier& verifier;
    keys::KeyIndex& index;
    keys::LogFollower& follower;
    keys::WatchHub& hub;
    keys::UsageCounter& uses;
    const base::Clock& clock;
    base::WorkerPool& waiting;
    SecurityLog& security_log;
    size_t streams;  // Of StreamVerify, and of Watch, at a time.
  };
  explicit KeyVerifyService(const Dependencies& parts);

  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest* request,
                                   v1::VerifyResponse* response) override;
  grpc::ServerUnaryReactor* BatchVerify(grpc::CallbackServerContext* context, const v1::BatchVerifyRequest* request,
                                        v1::BatchVerifyResponse* response) override;
  VerifyStreams::Reactor* StreamVerify(grpc::CallbackServerContext* context) override;
  WatchStreams::Reactor* Watch(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ReportUsage(grpc::CallbackServerContext* context, const v1::ReportUsageRequest* request,
                                        v1::ReportUsageResponse* response) override;

  // Brings the open streams to their end, and refuses new ones. Doesn't wait.
  void StartDraining();

 private:
  using CallPointer = std::shared_ptr<Call>;

  CallPointer NewCall(grpc::CallbackServerContext* context, const Method& method) const;
  void JudgeOne(const CallPointer& call, const v1::VerifyRequest& request, v1::VerifyResponse* response);
  void JudgeBatch(const CallPointer& call, const v1::BatchVerifyRequest& request, v1::BatchVerifyResponse* response);
  void Report(const CallPointer& call, const v1::ReportUsageRequest& request);

  const Dependencies dependencies_;
  keys::AsyncVerifier async_verifier_;
  VerifyStreams verify_streams_;
  WatchStreams watch_streams_;
};

}  // namespace latchkey::rpc
