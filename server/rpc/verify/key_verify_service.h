#pragma once

#include <cstddef>
#include <memory>
#include <variant>

#include "latchkey/v1/key_verify.pb.h"
#include "server/base/clock.h"
#include "server/base/work_queue.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/watch_hub.h"
#include "server/keys/verify/async_verifier.h"
#include "server/keys/verify/key_verifier.h"
#include "server/keys/verify/usage_counter.h"
#include "server/rpc/call/call.h"
#include "server/rpc/transport/method_table.h"
#include "server/rpc/verify/verify_stream.h"
#include "server/rpc/verify/watch_stream.h"

namespace latchkey::rpc {

// The door latchkey.v1.KeyVerify. Memory answers on the transport's own threads; a secret that is not proven yet is the
// SecretChecker's business, on threads of its own; only min_revision and fresh wait on `waiting`. Thread-safe.
class KeyVerifyService {
 public:
  // What it works with; all outlive the service.
  struct Dependencies {
    const CallDependencies& calls;
    keys::KeyVerifier& verifier;
    keys::KeyIndex& index;
    keys::LogFollower& follower;
    keys::WatchHub& hub;
    keys::UsageCounter& uses;
    const base::Clock& clock;
    base::WorkQueue& waiting;
    size_t streams;  // Of StreamVerify, and of Watch, at a time.
  };
  explicit KeyVerifyService(const Dependencies& dependencies);
  KeyVerifyService(const KeyVerifyService&) = delete;
  KeyVerifyService& operator=(const KeyVerifyService&) = delete;

  // What a transport serves; as long as the service lives.
  const MethodTable& methods() const { return methods_; }

  // Brings the open streams to their end, and refuses new ones. Doesn't wait.
  void StartDraining();

 private:
  template <typename Request, typename Response>
  using AsyncCall = CallOf<Request, Response, std::monostate>;
  using VerifyCall = AsyncCall<v1::VerifyRequest, v1::VerifyResponse>;
  using BatchCall = AsyncCall<v1::BatchVerifyRequest, v1::BatchVerifyResponse>;
  using ReportCall = AsyncCall<v1::ReportUsageRequest, v1::ReportUsageResponse>;

  template <typename Request, typename Response>
  void Add(const Method& method,
           void (KeyVerifyService::*handler)(const std::shared_ptr<AsyncCall<Request, Response>>&));

  void Verify(const std::shared_ptr<VerifyCall>& call);
  void BatchVerify(const std::shared_ptr<BatchCall>& call);
  void ReportUsage(const std::shared_ptr<ReportCall>& call);

  const Dependencies dependencies_;
  keys::AsyncVerifier async_verifier_;
  VerifyStreams verify_streams_;
  WatchStreams watch_streams_;
  MethodTable methods_;
};

}  // namespace latchkey::rpc
