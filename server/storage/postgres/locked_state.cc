#include "server/storage/postgres/locked_state.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/storage/postgres/rows.h"

namespace latchkey::storage::postgres {
namespace {

using RoleIds = std::set<std::pair<std::string, std::string>>;
using Roles = std::map<std::pair<std::string, std::string>, keys::RoleRecord>;

// Two parallel arrays, as unnest() takes them.
struct RoleArrays {
  explicit RoleArrays(const RoleIds& ids) {
    std::vector<std::string> organization_ids, role_ids;
    for (const auto& [organization, id] : ids) {
      organization_ids.push_back(organization);
      role_ids.push_back(id);
    }
    organizations = ArrayText(organization_ids);
    roles = ArrayText(role_ids);
  }
  std::string organizations;
  std::string roles;
};

Roles ReadRoles(Connection& connection, const RoleIds& ids) {
  Roles roles;
  if (ids.empty()) return roles;
  const RoleArrays arrays(ids);
  for (const auto& row : connection.Run("roles_by_id", arrays.organizations, arrays.roles)) {
    keys::RoleRecord role = RoleFrom(row);
    std::pair<std::string, std::string> id(role.organization, role.id);
    roles.emplace(std::move(id), std::move(role));
  }
  return roles;
}

// Returns the roles that are locked now, or have no row.
RoleIds TakeLocks(Connection& connection, const LockPlan& plan) {
  RoleIds roles(plan.roles.begin(), plan.roles.end());
  if (!plan.kids.empty()) {
    connection.Run("queue_for_keys", ArrayText(plan.kids));
    // A locking read shows the row as it is once the lock is held, so these are the roles that the keys keep holding.
    for (const auto& row : connection.Run("lock_keys", ArrayText(plan.kids))) {
      roles.emplace(row[0].as<std::string>(), row[1].as<std::string>());
    }
  }
  if (!roles.empty()) {
    const RoleArrays arrays(roles);
    connection.Run("lock_roles", arrays.organizations, arrays.roles);
  }
  if (plan.lock_organization) connection.Run("lock_organization", Text(plan.organization));
  return roles;
}

}  // namespace

LockedState LockAndRead(Connection& connection, const LockPlan& plan) {
  const RoleIds locked_roles = TakeLocks(connection, plan);

  LockedState state;
  if (!plan.kids.empty()) {
    for (const auto& row : connection.Run("keys_by_kid", ArrayText(plan.kids))) {
      keys::KeyRecord key = KeyFrom(row);
      std::string kid = key.kid;
      state.keys.emplace(std::move(kid), std::move(key));
    }
  }
  state.roles = ReadRoles(connection, locked_roles);
  if (!plan.organization.empty()) {
    const pqxx::result rows = connection.Run("read_organization", Text(plan.organization));
    if (!rows.empty()) state.organization = OrganizationFrom(rows[0]);
  }
  if (!plan.children.creator_kid.empty()) {
    RoleIds held;
    const std::string ttl =
        plan.children.ttl ? absl::StrCat(absl::ToInt64Microseconds(*plan.children.ttl), " microseconds") : "";
    for (const auto& row : connection.Run("children", Text(plan.children.creator_kid), TimeText(plan.children.end), ttl,
                                          ArrayText(plan.children.allowed_cidrs))) {
      state.children.push_back({.organization = row[0].as<std::string>(),
                                .role = row[1].as<std::string>(),
                                .count = row[2].as<int64_t>(),
                                .beyond = row[3].as<int64_t>()});
      held.emplace(state.children.back().organization, state.children.back().role);
    }
    state.children_roles = ReadRoles(connection, held);
  }
  const pqxx::result facts = connection.Run(
      "facts", Text(plan.request_scope), Text(plan.request_id), plan.count_other_owners, Text(plan.organization),
      ArrayText(plan.kids), plan.count_keys && state.organization ? state.organization->key_quota() : 0);
  state.now = ParseTime(facts.at(0)[0].c_str());
  state.owner_ever = facts.at(0)[1].as<bool>();
  if (!plan.request_id.empty() && !facts.at(0)[2].is_null()) state.replayed_name = facts.at(0)[2].as<std::string>();
  state.other_owners = facts.at(0)[3].as<int>();
  state.live_keys = facts.at(0)[4].as<int>();
  state.settings = SettingsFrom(facts.at(0));
  return state;
}

}  // namespace latchkey::storage::postgres
