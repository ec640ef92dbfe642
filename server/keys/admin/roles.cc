#include "server/keys/admin/roles.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "client/core/permissions.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"

namespace latchkey::keys {

Roles::Roles(storage::KeyStore& store) : store_(store) {}

absl::StatusOr<RolePage> Roles::List(const Principal& caller, const std::string& organization, bool assignable_only,
                                     const std::string& after, int limit) {
  const absl::Status none = errors::OrganizationNotFound(core::OrganizationNameOf(organization));
  if (!caller.ActsOn(organization)) return none;
  const absl::StatusOr<std::optional<OrganizationRecord>> found = store_.ReadOrganization(organization);
  if (!found.ok()) return found.status();
  if (!*found) return none;
  const std::vector<RoleRecord>& built_in = BuiltInRoles();
  const auto last = std::find_if(built_in.begin(), built_in.end(), [&](const auto& role) { return role.id == after; });
  const bool after_custom = last == built_in.end() && !after.empty();
  std::vector<RoleRecord> roles;
  if (!after_custom) roles.assign(after.empty() ? built_in.begin() : std::next(last), built_in.end());
  // One more than is shown says whether there are more.
  const auto wanted = static_cast<size_t>(limit) + 1;
  if (roles.size() < wanted) {
    const absl::StatusOr<std::vector<RoleRecord>> custom =
        store_.ListRoles(organization, after_custom ? after : "", static_cast<int>(wanted - roles.size()));
    if (!custom.ok()) return custom.status();
    roles.insert(roles.end(), custom->begin(), custom->end());
  }
  RolePage page;
  if (roles.size() >= wanted) {
    roles.resize(wanted - 1);
    page.next = roles.back().id;
  }
  for (RoleRecord& role : roles) {
    if (assignable_only && !core::AtMost(role.permissions, caller.permissions)) continue;
    role.organization = organization;
    page.roles.push_back(std::move(role));
  }
  return page;
}

}  // namespace latchkey::keys
