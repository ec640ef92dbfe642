#include "server/rpc/call/authenticate.h"

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
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
  return keys::Principal{.organization = identity.organization,
                         .kid = identity.kid,
                         .role = identity.role,
                         .permissions = identity.permissions,
                         .peer = peer};
}

std::string AddressOf(std::string_view peer) {
  constexpr std::string_view kIpv4 = "ipv4:";
  constexpr std::string_view kIpv6 = "ipv6:";
  if (peer.substr(0, kIpv4.size()) == kIpv4) {
    peer.remove_prefix(kIpv4.size());
    return std::string(peer.substr(0, peer.rfind(':')));
  }
  if (peer.substr(0, kIpv6.size()) != kIpv6) return "";
  peer.remove_prefix(kIpv6.size());
  // gRPC writes a peer as a URI, of which brackets and the zone's "%" are no part.
  const std::string bracketed = absl::StrReplaceAll(absl::string_view(peer.data(), peer.size()),
                                                    {{"%5B", "["}, {"%5b", "["}, {"%5D", "]"}, {"%5d", "]"}});
  const size_t first = bracketed.find('[');
  const size_t last = bracketed.find_first_of("]%", first == std::string::npos ? 0 : first);
  if (first == std::string::npos || last == std::string::npos) return "";
  return bracketed.substr(first + 1, last - first - 1);
}

}  // namespace latchkey::rpc
