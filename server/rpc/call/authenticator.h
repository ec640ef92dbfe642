#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/keys/verify/key_verifier.h"
#include "server/model/principal.h"
#include "server/rpc/call/security_log.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// The key string of the one `authorization: Bearer <key string>` value (scheme in any case). CREDENTIALS_MISSING
// without a value; CREDENTIALS_INVALID for several, for a comma-joined one and for another scheme. A view into it.
absl::StatusOr<std::string_view> BearerOf(const CallContext::Values& authorization);

// Who a verdict shows. Anything but ALLOWED is CREDENTIALS_INVALID and never says why; an error (could not decide)
// stays that error: an outage must not look like a bad key.
absl::StatusOr<keys::Principal> PrincipalOf(const absl::StatusOr<keys::Verdict>& verdict, const std::string& peer);

// Authentication of callers by the key that came with their call. Thread-safe.
class Authenticator {
 public:
  // Both outlive it.
  Authenticator(keys::KeyVerifier& verifier, SecurityLog& security_log)
      : verifier_(verifier), security_log_(security_log) {}

  // The verdict on the call's key from memory: never blocks. nullopt = its secret has not been proven yet: Prove must
  // look. `counted`: as a use of that key.
  std::optional<absl::StatusOr<keys::Verdict>> FromMemory(const CallContext& call, bool counted) const;
  // After nullopt: `done` is called exactly once, here or on another thread; with OK when memory can answer.
  void Prove(const CallContext& call, absl::Duration time_left, std::function<void(absl::Status)> done) const;

  SecurityLog& security_log() const { return security_log_; }

 private:
  keys::KeyVerifier& verifier_;
  SecurityLog& security_log_;
};

}  // namespace latchkey::rpc
