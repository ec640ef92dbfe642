#include "server/keys/admin/ceiling.h"

#include "client/core/cidr.h"
#include "client/core/permissions.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"

namespace latchkey::keys {
namespace {

using RoleMap = std::map<std::pair<std::string, std::string>, RoleRecord>;

const std::vector<std::string>* PermissionsIn(const RoleMap& custom, const std::string& organization,
                                              const std::string& role) {
  if (const RoleRecord* const built_in = FindBuiltInRole(role)) return &built_in->permissions;
  const auto found = custom.find({organization, role});
  return found == custom.end() ? nullptr : &found->second.permissions;
}

}  // namespace

const std::vector<std::string>* FindPermissions(const storage::LockedState& state, const std::string& organization,
                                                const std::string& role) {
  return PermissionsIn(state.roles, organization, role);
}

Authority AuthorityOf(const storage::LockedState& state, const KeyRecord& key) {
  const std::vector<std::string>* const permissions = FindPermissions(state, key.organization, key.role);
  return {permissions == nullptr ? std::vector<std::string>() : *permissions, key.expires_at, key.allowed_cidrs};
}

absl::StatusOr<Authority> CallerAuthority(const storage::LockedState& state, const Principal& caller,
                                          const std::string& permission) {
  const auto found = state.keys.find(caller.kid);
  if (found == state.keys.end()) return errors::CredentialsInvalid();
  const KeyRecord& key = found->second;
  if (key.deleted() || key.expires_at <= state.now) return errors::CredentialsInvalid();
  Authority authority = AuthorityOf(state, key);
  if (!core::Covers(authority.permissions, permission)) return errors::PermissionMissing(permission);
  return authority;
}

std::vector<Authority> GrantCeilings(const storage::LockedState& state, const Principal& caller,
                                     const Authority& holder, const std::string& creator_kid) {
  std::vector<Authority> ceilings = {holder};
  if (creator_kid == caller.kid) return ceilings;
  const auto creator = state.keys.find(creator_kid);
  if (creator != state.keys.end() && !creator->second.deleted()) {
    ceilings.push_back(AuthorityOf(state, creator->second));
  }
  return ceilings;
}

absl::Status RequireRoleAtMost(const std::string& role, const std::vector<std::string>& permissions,
                               const std::vector<Authority>& ceilings) {
  for (const Authority& ceiling : ceilings) {
    if (!core::AtMost(permissions, ceiling.permissions)) return errors::RoleExceedsCreator(role);
  }
  return absl::OkStatus();
}

absl::Status RequireGrantWithin(const Grant& grant, const std::vector<Authority>& ceilings) {
  for (const Authority& ceiling : ceilings) {
    if (grant.expires_at && *grant.expires_at > ceiling.expires_at) {
      return errors::ExpiryExceedsCreator(ceiling.expires_at);
    }
    if (grant.allowed_cidrs && !core::CidrsAtMost(*grant.allowed_cidrs, ceiling.allowed_cidrs)) {
      return errors::CidrsExceedCreator();
    }
  }
  return absl::OkStatus();
}

absl::Status RequireDescendantsAtMost(const storage::LockedState& state, const std::vector<std::string>& lowered) {
  int64_t above = 0;
  for (const storage::ChildGroup& group : state.children) {
    const std::vector<std::string>* permissions = PermissionsIn(state.children_roles, group.organization, group.role);
    const bool within = permissions == nullptr || core::AtMost(*permissions, lowered);
    above += within ? group.beyond : group.count;
  }
  return above == 0 ? absl::OkStatus() : errors::DescendantsExceed(above);
}

}  // namespace latchkey::keys
