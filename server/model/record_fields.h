#pragma once

#include <concepts>
#include <type_traits>

#include "server/model/records.h"

// The stored fields of each record, listed once: VisitFields(record, visit) calls visit(name, field) or
// visit(name, field, in_body) for each of them. `name` is the field's name in a body of the change log and the name of
// its column; the order is the order in a body, whose bytes the chain covers. The revision and the last use are no part
// of it: the store sets them.
//
// A new field of a record that bodies exist of is kUnlessEmpty: they don't have it. One that narrows or changes a
// verdict has a feature level too: that of the first release whose readers know it.
namespace latchkey::keys {

// Whether a body has the field. Times go by their own rule: they are absent if Never().
enum class Presence { kAlways, kUnlessEmpty, kUnlessZero, kUnlessLevelOfReleaseZero };

// How a body of the change log has a field.
struct InBody {
  Presence presence = Presence::kAlways;
  // The feature level that a reader needs to read a body rightly that has this field; 1 = whoever does not know the
  // field may pass over it. One of 3 or more is named as critical in the body.
  int level = 1;
};

// Whether a body leaves the field out.
template <typename T>
bool IsAbsent(const T& field, Presence presence) {
  if constexpr (requires { field.empty(); }) {
    if (presence == Presence::kUnlessEmpty) return field.empty();
  }
  if constexpr (std::same_as<T, int>) {
    if (presence == Presence::kUnlessZero) return field == 0;
    if (presence == Presence::kUnlessLevelOfReleaseZero) return field <= kReleaseZeroLevel;
  }
  return false;
}

// A record to read or to fill.
template <typename T, typename Record>
concept MaybeConst = std::same_as<std::remove_const_t<T>, Record>;

template <MaybeConst<SecretVersion> T, typename Visitor>
void VisitFields(T& version, Visitor&& visit) {
  visit("id", version.id);
  visit("created_at", version.created_at);
  visit("expires_at", version.expires_at);
}

template <MaybeConst<KeyRecord> T, typename Visitor>
void VisitFields(T& key, Visitor&& visit) {
  visit("organization", key.organization);
  visit("kid", key.kid);
  visit("display_name", key.display_name);
  visit("description", key.description);
  visit("role", key.role);
  visit("owner", key.owner);
  visit("labels", key.labels);
  visit("key_hint", key.key_hint);
  visit("creator", key.creator);
  visit("creator_kid", key.creator_kid);
  visit("created_at", key.created_at);
  visit("updated_at", key.updated_at);
  visit("expires_at", key.expires_at);
  visit("deleted_at", key.deleted_at);
  visit("purge_at", key.purge_at);
  visit("delete_reason", key.delete_reason);
  visit("allowed_cidrs", key.allowed_cidrs, InBody{.presence = Presence::kUnlessEmpty, .level = 2});
  visit("versions", key.versions);
}

template <MaybeConst<OrganizationRecord> T, typename Visitor>
void VisitFields(T& organization, Visitor&& visit) {
  visit("id", organization.id);
  visit("display_name", organization.display_name);
  visit("created_at", organization.created_at);
  visit("updated_at", organization.updated_at);
  visit("deleted_at", organization.deleted_at);
  visit("max_keys", organization.max_keys, InBody{.presence = Presence::kUnlessZero});
}

template <MaybeConst<RoleRecord> T, typename Visitor>
void VisitFields(T& role, Visitor&& visit) {
  visit("organization", role.organization);
  visit("id", role.id);
  visit("display_name", role.display_name);
  visit("description", role.description);
  visit("documentation_uri", role.documentation_uri);
  visit("permissions", role.permissions);
  visit("created_at", role.created_at);
  visit("updated_at", role.updated_at);
  visit("removed", role.removed);
}

template <MaybeConst<Settings> T, typename Visitor>
void VisitFields(T& settings, Visitor&& visit) {
  visit("bound_us", settings.bound, InBody{.level = 2});
  visit("previous_bound_us", settings.previous_bound, InBody{.level = 2});
  visit("changed_at", settings.changed_at, InBody{.level = 2});
  visit("level", settings.level, InBody{.presence = Presence::kUnlessLevelOfReleaseZero, .level = 3});
}

}  // namespace latchkey::keys
