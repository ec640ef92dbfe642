#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace latchkey::core {

// Resource names (AIP-122): organizations/{organization}, organizations/{organization}/keys/{kid},
// organizations/{organization}/roles/{role}. Parsing is exact; nullopt for anything else.

// Operators and verifiers live here; it exists from the start.
inline constexpr std::string_view kSystemOrganization = "system";

// True for [a-z]([a-z0-9-]{0,61}[a-z0-9])?, the form of organization and role ids.
bool IsResourceId(std::string_view id);

struct KeyName {
  std::string organization;
  std::string kid;
};

struct RoleName {
  std::string organization;
  std::string role;
};

std::optional<std::string> ParseOrganizationName(std::string_view name);
std::optional<KeyName> ParseKeyName(std::string_view name);
std::optional<RoleName> ParseRoleName(std::string_view name);

std::string OrganizationNameOf(std::string_view organization);
std::string KeyNameOf(std::string_view organization, std::string_view kid);
std::string RoleNameOf(std::string_view organization, std::string_view role);

}  // namespace latchkey::core
