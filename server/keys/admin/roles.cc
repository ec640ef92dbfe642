#include "server/keys/admin/roles.h"

#include <utility>

#include "client/core/permissions.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"

namespace latchkey::keys {

Roles::Roles(storage::KeyStore& store) : store_(store) {}

absl::StatusOr<std::vector<RoleRecord>> Roles::List(const Principal& caller, const std::string& organization,
                                                    bool assignable_only) {
  const absl::Status none = errors::OrganizationNotFound(core::OrganizationNameOf(organization));
  if (!caller.ActsOn(organization)) return none;
  const absl::StatusOr<std::optional<OrganizationRecord>> found = store_.ReadOrganization(organization);
  if (!found.ok()) return found.status();
  if (!*found) return none;
  const absl::StatusOr<std::vector<RoleRecord>> custom = store_.ListRoles(organization);
  if (!custom.ok()) return custom.status();
  std::vector<RoleRecord> roles = BuiltInRoles();
  roles.insert(roles.end(), custom->begin(), custom->end());
  std::vector<RoleRecord> out;
  for (RoleRecord& role : roles) {
    if (assignable_only && !core::AtMost(role.permissions, caller.permissions)) continue;
    role.organization = organization;
    out.push_back(std::move(role));
  }
  return out;
}

}  // namespace latchkey::keys
