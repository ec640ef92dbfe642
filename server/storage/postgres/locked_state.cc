#include "server/storage/postgres/locked_state.h"

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/storage/postgres/batch.h"
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

Roles RolesFrom(const pqxx::result& rows) {
  Roles roles;
  for (const auto& row : rows) {
    keys::RoleRecord role = RoleFrom(row);
    std::pair<std::string, std::string> id(role.organization, role.id);
    roles.emplace(std::move(id), std::move(role));
  }
  return roles;
}

const char* TextOf(bool value) { return value ? "true" : "false"; }

void AddChildren(Batch& batch, const ChildrenQuery& wanted, LockedState& state) {
  const std::string ttl = wanted.ttl ? absl::StrCat(absl::ToInt64Microseconds(*wanted.ttl), " microseconds") : "";
  batch.Add("children", {Text(wanted.creator_kid), TimeText(wanted.end), ttl, ArrayText(wanted.allowed_cidrs)},
            [&state](const pqxx::result& rows) {
              for (const auto& row : rows) {
                state.children.push_back({.organization = row[0].as<std::string>(),
                                          .role = row[1].as<std::string>(),
                                          .count = row[2].as<int64_t>(),
                                          .beyond = row[3].as<int64_t>()});
              }
            });
}

void AddFacts(Batch& batch, const LockPlan& plan, LockedState& state) {
  batch.Add("facts",
            {Text(plan.request_scope), Text(plan.request_id), TextOf(plan.count_other_owners), Text(plan.organization),
             ArrayText(plan.kids), absl::StrCat(plan.count_keys ? keys::kDefaultMaxKeys : 0)},
            [&](const pqxx::result& facts) {
              state.now = ParseTime(facts.at(0)[0].c_str());
              state.owner_ever = facts.at(0)[1].as<bool>();
              if (!plan.request_id.empty() && !facts.at(0)[2].is_null()) {
                state.replayed_name = facts.at(0)[2].as<std::string>();
              }
              state.other_owners = facts.at(0)[3].as<int>();
              state.live_keys = facts.at(0)[4].as<int>();
              state.settings = SettingsFrom(facts.at(0));
            });
}

}  // namespace

LockedState BeginLockAndRead(Connection& connection, const LockPlan& plan) {
  LockedState state;
  RoleIds locked_roles(plan.roles.begin(), plan.roles.end());
  Batch batch(connection);
  batch.Add("BEGIN");
  if (!plan.kids.empty()) {
    batch.Add("queue_for_keys", {ArrayText(plan.kids)});
    // A locking read shows the row as it is once the lock is held, so these are the roles that the keys keep holding.
    batch.Add("lock_keys", {ArrayText(plan.kids)}, [&](const pqxx::result& rows) {
      for (const auto& row : rows) locked_roles.emplace(row[0].as<std::string>(), row[1].as<std::string>());
    });
    batch.Run();
  }

  std::optional<RoleArrays> roles;
  if (!locked_roles.empty()) {
    roles.emplace(locked_roles);
    batch.Add("lock_roles", {roles->organizations, roles->roles});
  }
  if (plan.lock_organization) batch.Add("lock_organization", {Text(plan.organization)});
  // All locks are taken: what follows is read by statements of their own, each with a snapshot of its own.
  if (!plan.kids.empty()) {
    batch.Add("keys_by_kid", {ArrayText(plan.kids)}, [&](const pqxx::result& rows) {
      for (const auto& row : rows) {
        keys::KeyRecord key = KeyFrom(row);
        std::string kid = key.kid;
        state.keys.emplace(std::move(kid), std::move(key));
      }
    });
  }
  if (roles.has_value()) {
    batch.Add("roles_by_id", {roles->organizations, roles->roles},
              [&](const pqxx::result& rows) { state.roles = RolesFrom(rows); });
  }
  if (!plan.organization.empty()) {
    batch.Add("read_organization", {Text(plan.organization)}, [&](const pqxx::result& rows) {
      if (!rows.empty()) state.organization = OrganizationFrom(rows[0]);
    });
  }
  if (!plan.children.creator_kid.empty()) AddChildren(batch, plan.children, state);
  AddFacts(batch, plan, state);
  batch.Run();

  if (!state.children.empty()) {
    RoleIds held;
    for (const auto& group : state.children) held.emplace(group.organization, group.role);
    const RoleArrays arrays(held);
    state.children_roles = RolesFrom(connection.Run("roles_by_id", arrays.organizations, arrays.roles));
  }
  return state;
}

}  // namespace latchkey::storage::postgres
