#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/keys/verify/key_verifier.h"
#include "server/model/principal.h"
#include "server/rpc/call/caller.h"
#include "server/rpc/call/security_log.h"

namespace latchkey::rpc {

// The deadline of a call whose caller set none.
inline constexpr absl::Duration kDefaultDeadline = absl::Seconds(2);

// One call of one unary RPC, and all that every one does: who is calling, deadline, the answer's status on the wire,
// the line in the log. The order of use: Authenticate, the work, Complete. Request and response live until Complete,
// not longer. Not thread-safe: one thread at a time.
class Call {
 public:
  // `default_deadline`: of a call whose caller set none.
  Call(grpc::CallbackServerContext& context, const Method& method, keys::KeyVerifier& verifier,
       SecurityLog& security_log, absl::Duration default_deadline = kDefaultDeadline);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call();

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }
  const std::string& id() const { return caller_.id(); }
  const Method& method() const { return caller_.method(); }
  const std::string& address() const { return caller_.address(); }
  // Set by Authenticate.
  const keys::Principal& caller() const { return caller_.principal(); }

  // Until the caller's deadline, or the server's own where it set none. Negative if it has passed.
  absl::Duration TimeLeft() const;
  // CANCELLED or DEADLINE_EXCEEDED if nobody waits for the answer any more.
  absl::Status StillWanted() const;

  // Never blocks. Runs `then`, here or on another thread, once the caller is known and holds the method's permission;
  // completes the call itself if it does not come to that.
  static void Authenticate(const std::shared_ptr<Call>& call, std::function<void()> then);

  // Answers. Exactly once; afterwards context, request and response are gone.
  void Complete(const absl::Status& status);

 private:
  grpc::CallbackServerContext& context_;
  grpc::ServerUnaryReactor* const reactor_;
  Caller caller_;
  std::chrono::system_clock::time_point deadline_;
  bool completed_ = false;
};

}  // namespace latchkey::rpc
