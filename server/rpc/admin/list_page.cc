#include "server/rpc/admin/list_page.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"

namespace latchkey::rpc {

std::string FormatKeyPosition(const KeyPosition& position) {
  return absl::StrCat(absl::ToUnixNanos(position.created_at), ":", position.kid);
}

absl::StatusOr<KeyPosition> ParseKeyPosition(const std::string& text) {
  const size_t colon = text.find(':');
  int64_t ns = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(text.substr(0, colon), &ns)) return errors::PageTokenInvalid();
  std::string kid = text.substr(colon + 1);
  if (!core::IsKeyId(kid)) return errors::PageTokenInvalid();
  return KeyPosition{.created_at = absl::FromUnixNanos(ns), .kid = std::move(kid)};
}

size_t FirstRoleAfter(const std::vector<keys::RoleRecord>& roles, const std::string& id) {
  const auto rank = [](const std::string& role) {
    const std::vector<keys::RoleRecord>& built_in = keys::BuiltInRoles();
    const auto found =
        std::find_if(built_in.begin(), built_in.end(), [&role](const keys::RoleRecord& one) { return one.id == role; });
    // All custom roles come after all built-in ones, by id.
    return std::make_pair(found - built_in.begin(), found == built_in.end() ? role : std::string());
  };
  const auto position = rank(id);
  const auto next =
      std::find_if(roles.begin(), roles.end(), [&](const keys::RoleRecord& role) { return rank(role.id) > position; });
  return static_cast<size_t>(next - roles.begin());
}

}  // namespace latchkey::rpc
