#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/errors.h"
#include "server/keys/hash_pool.h"
#include "server/keys/key_verifier.h"
#include "server/keys/principal.h"
#include "server/rpc/security_log.h"

namespace latchkey::rpc {

// What is fixed about an RPC.
struct Method {
  const char* name;        // "latchkey.v1.KeyAdmin/CreateKey".
  const char* permission;  // What its caller must hold.
  bool mutation;
};

// The deadline of a call whose caller set none.
inline constexpr absl::Duration kDefaultDeadline = absl::Seconds(2);

// `fn`'s result; an exception becomes INTERNAL with its text for the log.
template <typename Fn>
auto Guarded(const Fn& fn) -> decltype(fn()) {
  try {
    return fn();
  } catch (const std::exception& e) {
    return errors::Internal(absl::StrCat("exception: ", e.what()));
  } catch (...) {
    return errors::Internal("exception of an unknown type");
  }
}

// One call of one RPC, and all that every RPC does: id, deadline, who is calling and whether it may, the answer's
// status on the wire, the line in the log. The order of use: one of the two Authenticate functions, the work, Complete.
// Request and response live until Complete, not longer. Not thread-safe: one thread at a time.
class Call {
 public:
  Call(grpc::CallbackServerContext& context, const Method& method, SecurityLog& security_log);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call();

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }
  // Short, random, unique enough to find the call in the log.
  const std::string& id() const { return id_; }
  const Method& method() const { return method_; }
  // Set by Authenticate.
  const keys::Principal& caller() const { return caller_; }

  // Until the caller's deadline, or the server's own where it set none. Negative if it has passed.
  absl::Duration TimeLeft() const;
  // How long this call may wait for one hash: no longer than `longest`, and not beyond its deadline.
  absl::Duration HashPatience(absl::Duration longest) const { return std::min(TimeLeft(), longest); }
  // CANCELLED or DEADLINE_EXCEEDED if nobody waits for the answer any more.
  absl::Status StillWanted() const;

  // From memory: never blocks. OK = the caller is known and holds the method's permission. nullopt = its key has not
  // been proven yet: AuthenticateUnproven must look.
  std::optional<absl::Status> AuthenticateFromMemory(keys::KeyVerifier& verifier);
  // Blocks.
  absl::Status AuthenticateUnproven(keys::KeyVerifier& verifier, const keys::HashPool::Ticket& ticket);

  // Answers. Exactly once; afterwards context, request and response are gone.
  void Complete(const absl::Status& status);

 private:
  absl::Status Settle(const absl::StatusOr<keys::Verdict>& verdict);
  void Log(const absl::Status& status) const;

  grpc::CallbackServerContext& context_;
  grpc::ServerUnaryReactor* const reactor_;
  const Method& method_;
  SecurityLog& security_log_;
  const std::string id_;
  const std::chrono::steady_clock::time_point started_at_;
  std::chrono::system_clock::time_point deadline_;
  keys::Principal caller_;
  std::string denied_because_;  // For the security log only.
  bool completed_ = false;
};

}  // namespace latchkey::rpc
