#include "client/core/judge.h"

#include <algorithm>

#include "client/core/permissions.h"

namespace latchkey::core {
namespace {

bool IsAllowedFrom(absl::Span<const Cidr> allowed, std::string_view client_ip) {
  if (allowed.empty()) return true;
  const std::optional<IpAddress> address = ParseIp(client_ip);
  return address.has_value() &&
         std::any_of(allowed.begin(), allowed.end(), [&](const Cidr& block) { return block.Contains(*address); });
}

bool HoldsAll(const std::vector<std::string>* held, const std::vector<std::string>* wanted) {
  if (wanted == nullptr || wanted->empty()) return true;
  return held != nullptr && AtMost(*wanted, *held);
}

}  // namespace

Decision Judge(const KeyStatus& key_status, const Wanted& wanted) {
  if (key_status.revoked) return Decision::kRevoked;
  if (key_status.disabled) return Decision::kDisabled;
  if (key_status.expired) return Decision::kExpired;
  if (!IsAllowedFrom(key_status.allowed_cidrs, wanted.client_ip)) return Decision::kClientNotAllowed;
  if (!HoldsAll(key_status.permissions, wanted.permissions)) return Decision::kPermissionDenied;
  return Decision::kAllowed;
}

}  // namespace latchkey::core
