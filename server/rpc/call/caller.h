#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/model/principal.h"
#include "server/rpc/call/authenticator.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// What is fixed about an RPC.
struct Method {
  const char* name;        // "latchkey.v1.KeyAdmin/CreateKey".
  const char* permission;  // What its caller must hold.
  bool mutation;
};

// Who makes one call, unary or streaming: its id, whose key came with it and whether that may do this, and the lines in
// the logs. Not thread-safe: one thread at a time. Must not outlive the call.
class Caller {
 public:
  Caller(CallContext& call, const Method& method, const Authenticator& authenticator);
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  // Short, random, unique enough to find the call in the log.
  const std::string& id() const { return id_; }
  const Method& method() const { return method_; }
  // The address that the call comes from, without its port; "" if it has no address.
  const std::string& address() const { return call_.peer().address; }
  // Set by the two below.
  const keys::Principal& principal() const { return principal_; }
  // Since the call began.
  absl::Duration Elapsed() const { return absl::FromChrono(std::chrono::steady_clock::now() - started_at_); }

  // From memory as it is now: never blocks, and may be asked as often as wished. OK = the caller is known and holds the
  // method's permission; UNAUTHENTICATED or PERMISSION_DENIED = it is no (longer a) good caller; anything else = could
  // not decide. nullopt = its key has not been proven yet: Prove must look.
  // `counted`: as a use of the caller's key.
  std::optional<absl::Status> FromMemory(bool counted = true);
  // After nullopt: `done` is called exactly once, here or on another thread, with what FromMemory says then. Waits no
  // longer than `time_left`.
  void Prove(absl::Duration time_left, std::function<void(absl::Status)> done);
  // The two in turn: `then` is called exactly once, here or on another thread, which keeps `alive` until then.
  template <typename Then>
  void Judge(absl::Duration time_left, std::shared_ptr<const void> alive, Then then) {
    if (const std::optional<absl::Status> known = FromMemory()) {
      then(*known);
    } else {
      Prove(time_left,
            [alive = std::move(alive), then = std::move(then)](const absl::Status& status) mutable { then(status); });
    }
  }
  // True for a status of those above that means a bad caller, not an outage.
  static bool IsRefusal(const absl::Status& status) {
    return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status);
  }

  // The line in the log at the call's end.
  void Log(const absl::Status& status) const;

 private:
  absl::Status AdmitIfAllowed(const absl::StatusOr<keys::Verdict>& verdict);

  CallContext& call_;
  const Method& method_;
  const Authenticator& authenticator_;
  const std::string id_;
  const std::chrono::steady_clock::time_point started_at_;
  keys::Principal principal_;
  std::string denied_because_;  // For the security log only.
};

}  // namespace latchkey::rpc
