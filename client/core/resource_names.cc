#include "client/core/resource_names.h"

#include "client/core/key_format.h"

namespace latchkey::core {
namespace {

constexpr std::string_view kOrganizations = "organizations/";

// Splits organizations/{organization}/{collection}/{id}; ids are not checked.
struct Child {
  std::string_view organization;
  std::string_view id;
};

std::optional<Child> SplitChild(std::string_view name, std::string_view collection) {
  if (name.substr(0, kOrganizations.size()) != kOrganizations) return std::nullopt;
  name.remove_prefix(kOrganizations.size());
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view organization = name.substr(0, slash);
  const std::string_view rest = name.substr(slash + 1);
  if (rest.substr(0, collection.size()) != collection) return std::nullopt;
  if (!IsResourceId(organization)) return std::nullopt;
  return Child{organization, rest.substr(collection.size())};
}

std::string Joined(std::string_view a, std::string_view b, std::string_view c, std::string_view d) {
  std::string out;
  out.reserve(a.size() + b.size() + c.size() + d.size());
  out.append(a).append(b).append(c).append(d);
  return out;
}

}  // namespace

bool IsResourceId(std::string_view id) {
  if (id.empty() || id.size() > 63) return false;
  if (id.front() < 'a' || id.front() > 'z' || id.back() == '-') return false;
  for (const char c : id) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
  }
  return true;
}

std::optional<std::string> ParseOrganizationName(std::string_view name) {
  if (name.substr(0, kOrganizations.size()) != kOrganizations) return std::nullopt;
  name.remove_prefix(kOrganizations.size());
  if (!IsResourceId(name)) return std::nullopt;
  return std::string(name);
}

std::optional<KeyName> ParseKeyName(std::string_view name) {
  const std::optional<Child> child = SplitChild(name, "keys/");
  if (!child || !IsKeyId(child->id)) return std::nullopt;
  return KeyName{std::string(child->organization), std::string(child->id)};
}

std::optional<RoleName> ParseRoleName(std::string_view name) {
  const std::optional<Child> child = SplitChild(name, "roles/");
  if (!child || !IsResourceId(child->id)) return std::nullopt;
  return RoleName{std::string(child->organization), std::string(child->id)};
}

std::string OrganizationNameOf(std::string_view organization) { return Joined(kOrganizations, organization, "", ""); }
std::string KeyNameOf(std::string_view organization, std::string_view kid) {
  return Joined(kOrganizations, organization, "/keys/", kid);
}
std::string RoleNameOf(std::string_view organization, std::string_view role) {
  return Joined(kOrganizations, organization, "/roles/", role);
}

}  // namespace latchkey::core
