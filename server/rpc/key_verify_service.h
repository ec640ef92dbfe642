#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "latchkey/v1/key_verify.grpc.pb.h"
#include "server/base/worker_pool.h"
#include "server/keys/key_verifier.h"
#include "server/rpc/call.h"

namespace latchkey::rpc {

// latchkey.v1.KeyVerify. Which thread does what is decided in key_verify_service.cc and nowhere else: today memory
// answers on gRPC's own thread, and a key whose secret is not proven yet goes to `workers` after the hash pool gave it
// a place (HASH_POOL_FULL otherwise). Thread-safe.
class KeyVerifyService final : public v1::KeyVerify::CallbackService {
 public:
  // What it works with; all outlive the service.
  struct Parts {
    keys::KeyVerifier& verifier;
    base::WorkerPool& workers;
    SecurityLog& security_log;
    absl::Duration hash_patience;  // Keys that would wait longer for a hash are refused with HASH_POOL_FULL.
  };
  explicit KeyVerifyService(const Parts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest* request,
                                   v1::VerifyResponse* response) override;
  grpc::ServerUnaryReactor* BatchVerify(grpc::CallbackServerContext* context, const v1::BatchVerifyRequest* request,
                                        v1::BatchVerifyResponse* response) override;

 private:
  using CallPointer = std::shared_ptr<Call>;

  // Authenticates, then runs `then`, here or on a worker; completes the call itself if that fails.
  void WithCaller(const CallPointer& call, std::function<void()> then);
  // Answers one question; `done` is called exactly once, here or on a worker. `request` lives until then.
  void Judge(const CallPointer& call, const v1::VerifyRequest& request, const std::string& prefix,
             std::function<void(const absl::StatusOr<keys::Verdict>&)> done);

  const Parts parts_;
};

}  // namespace latchkey::rpc
