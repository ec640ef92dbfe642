#include "server/rpc/call/authenticator.h"

#include <utility>

#include "absl/strings/match.h"
#include "server/base/errors.h"
#include "server/base/guarded.h"

namespace latchkey::rpc {

absl::StatusOr<std::string_view> BearerOf(const CallContext::Values& authorization) {
  constexpr size_t kScheme = 6;
  if (authorization.empty()) return errors::CredentialsMissing();
  if (authorization.size() > 1) return errors::CredentialsInvalid();
  std::string_view value = authorization.front();
  if (value.find(',') != std::string_view::npos || value.size() <= kScheme || value[kScheme] != ' ' ||
      !absl::EqualsIgnoreCase(absl::string_view(value.data(), kScheme), "bearer")) {
    return errors::CredentialsInvalid();
  }
  value.remove_prefix(kScheme);
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  return value;
}

absl::StatusOr<keys::Principal> PrincipalOf(const absl::StatusOr<keys::Verdict>& verdict, const std::string& peer) {
  if (!verdict.ok()) return verdict.status();
  if (verdict->decision != core::Decision::kAllowed || !verdict->identity.has_value()) {
    return errors::CredentialsInvalid();
  }
  const keys::Identity& identity = *verdict->identity;
  return keys::Principal{.organization = identity.organization,
                         .kid = identity.kid,
                         .role = identity.role,
                         .permissions = identity.permissions,
                         .peer = peer};
}

std::optional<absl::StatusOr<keys::Verdict>> Authenticator::FromMemory(const CallContext& call, bool counted) const {
  const absl::StatusOr<std::string_view> bearer = BearerOf(call.Metadata("authorization"));
  if (!bearer.ok()) return bearer.status();
  return base::Guarded([&]() -> std::optional<absl::StatusOr<keys::Verdict>> {
    return verifier_.VerifyFromMemory({.key = *bearer,
                                       .required_permissions = nullptr,
                                       .client_ip = call.peer().address,
                                       .asker_organization = "",
                                       .counted = counted});
  });
}

void Authenticator::Prove(const CallContext& call, absl::Duration time_left,
                          std::function<void(absl::Status)> done) const {
  const absl::StatusOr<std::string_view> bearer = BearerOf(call.Metadata("authorization"));
  if (!bearer.ok()) {
    done(bearer.status());
    return;
  }
  verifier_.Prove(*bearer, time_left, {.address = call.peer().address, .share = ""}, std::move(done));
}

}  // namespace latchkey::rpc
