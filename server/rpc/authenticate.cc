#include "server/rpc/authenticate.h"

#include "absl/strings/match.h"
#include "server/base/errors.h"

namespace latchkey::rpc {

absl::StatusOr<std::string_view> BearerOf(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  constexpr size_t kScheme = 6;
  const auto [first, last] = metadata.equal_range("authorization");
  if (first == last) return errors::CredentialsMissing();
  if (std::next(first) != last) return errors::CredentialsInvalid();
  std::string_view value(first->second.data(), first->second.size());
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
  keys::Principal principal{
      .organization = identity.key->organization, .kid = identity.key->kid, .role = identity.key->role, .peer = peer};
  if (identity.role != nullptr) principal.permissions = identity.role->permissions;
  return principal;
}

}  // namespace latchkey::rpc
