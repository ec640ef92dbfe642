#include "server/keys/admin/key_decisions.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/core/cidr.h"
#include "client/core/permissions.h"
#include "client/core/resource_names.h"
#include "server/base/errors.h"
#include "server/keys/admin/ceiling.h"
#include "server/keys/admin/etag.h"
#include "server/model/built_in_roles.h"
#include "server/model/change_codec.h"

namespace latchkey::keys {
namespace {

using storage::LockedState;
using Outcome = KeyDecision::Outcome;

absl::StatusOr<absl::Time> EndOf(const Expiration& expiration, absl::Time now) {
  if (expiration.ttl) return now + *expiration.ttl;
  if (!expiration.at) return Never();
  if (*expiration.at <= now) return errors::FieldInvalid("key.expire_time", "a time in the future");
  return *expiration.at;
}

// The target as the locked state has it: KEY_NOT_FOUND also for one that the caller does not act on.
absl::StatusOr<KeyRecord> FindTarget(const LockedState& state, const Principal& caller, const std::string& organization,
                                     const std::string& kid) {
  const auto found = state.keys.find(kid);
  if (found == state.keys.end() || found->second.organization != organization || !caller.ActsOn(organization)) {
    return errors::KeyNotFound(core::KeyNameOf(organization, kid));
  }
  return found->second;
}

absl::Status RequireEtag(const std::string& etag, const KeyRecord& target) {
  if (etag.empty() || etag == EtagOf(target.revision)) return absl::OkStatus();
  return errors::EtagMismatch(core::KeyNameOf(target.organization, target.kid));
}

// The target with the edit's fields. FIELD_INVALID for an end in the past.
absl::StatusOr<KeyRecord> Edited(const KeyRecord& target, const KeyEdit& edit, absl::Time now) {
  KeyRecord key = target;
  if (edit.display_name) key.display_name = *edit.display_name;
  if (edit.description) key.description = *edit.description;
  if (edit.owner) key.owner = *edit.owner;
  if (edit.labels) key.labels = *edit.labels;
  if (edit.allowed_cidrs) key.allowed_cidrs = *edit.allowed_cidrs;
  if (edit.role) key.role = *edit.role;
  if (edit.expiration) {
    const absl::StatusOr<absl::Time> ends_at = EndOf(*edit.expiration, now);
    if (!ends_at.ok()) return ends_at.status();
    key.expires_at = *ends_at;
  }
  return key;
}

// What an update gives to a key beyond the permissions of its role. A greater role is a grant for as long as the key
// lives and from wherever it may be used, just as a longer life or a restriction taken away is.
Grant GrantOf(const KeyRecord& before, const Authority& held, const KeyRecord& after, const Authority& holds) {
  const bool more_permissions = !core::AtMost(holds.permissions, held.permissions);
  Grant grant;
  if (more_permissions || after.expires_at > before.expires_at) grant.expires_at = after.expires_at;
  if (more_permissions || !core::CidrsAtMost(after.allowed_cidrs, before.allowed_cidrs)) {
    grant.allowed_cidrs = after.allowed_cidrs;
  }
  return grant;
}

bool IsStronger(DeleteReason wanted, DeleteReason had) {
  const auto rank = [](DeleteReason reason) {
    if (reason == DeleteReason::kUnspecified) return 0;
    return reason == DeleteReason::kCompromised ? 2 : 1;
  };
  return rank(wanted) > rank(had);
}

KeyDecision NothingToChange(const KeyRecord& key) { return {.outcome = Outcome::kNothingToChange, .key = key}; }

KeyDecision Write(KeyRecord key, const Audit& audit) {
  Change change;
  change.key = key;
  change.body = EncodeBody(change, audit);
  KeyDecision decision{.outcome = Outcome::kWrite, .key = std::move(key)};
  decision.mutation.changes.push_back(std::move(change));
  return decision;
}

bool HasAnotherLastingOwner(const LockedState& state, const KeyRecord& target) {
  if (state.other_owners > 0) return true;
  for (const auto& [kid, key] : state.keys) {
    // `other_owners` leaves out all the keys that were locked, the caller among them.
    if (kid != target.kid && key.organization == target.organization && IsLastingOwner(key)) return true;
  }
  return false;
}

// Writes `after` unless that would take the organization its last lasting owner: LAST_OWNER. Two owners that lower each
// other at once would each see the other one, so whether it is the last is decided under the organization's lock alone.
absl::StatusOr<KeyDecision> WriteUnlessLastOwner(const LockedState& state, const KeyRecord& before, KeyRecord after,
                                                 bool organization_locked, const Audit& audit) {
  if (IsLastingOwner(before) && !IsLastingOwner(after)) {
    if (!organization_locked) return KeyDecision{.outcome = Outcome::kStartOver, .key = before};
    if (!HasAnotherLastingOwner(state, before)) return errors::LastOwner(before.organization);
  }
  return Write(std::move(after), audit);
}

}  // namespace

bool IsLastingOwner(const KeyRecord& key) {
  return key.role == kOwnerRole && key.expires_at == Never() && !key.deleted();
}

absl::StatusOr<KeyDecision> DecideCreate(const LockedState& state, const Principal& caller, const NewKey& wanted,
                                         const MintedKey& minted, const Audit& audit) {
  const absl::StatusOr<Authority> holder = CallerAuthority(state, caller, kKeysCreate);
  if (!holder.ok()) return holder.status();
  if (!caller.ActsOn(wanted.organization) || !state.organization || state.organization->deleted()) {
    return errors::OrganizationNotFound(core::OrganizationNameOf(wanted.organization));
  }
  if (!state.replayed_name.empty()) return errors::RequestReplayed(state.replayed_name);
  if (const int quota = state.organization->key_quota(); state.live_keys >= quota) {
    return errors::QuotaExceeded(core::OrganizationNameOf(wanted.organization), "max_keys", quota);
  }
  const std::vector<std::string>* const permissions = FindPermissions(state, wanted.organization, wanted.role);
  if (permissions == nullptr) return errors::RoleUnknown("key.role", wanted.role, wanted.organization);
  const std::vector<Authority> ceilings = GrantCeilings(state, caller, *holder, caller.kid);
  if (absl::Status within = RequireRoleAtMost(wanted.role, *permissions, ceilings); !within.ok()) return within;
  const absl::StatusOr<absl::Time> ends_at = EndOf(wanted.expiration, state.now);
  if (!ends_at.ok()) return ends_at.status();
  if (absl::Status within = RequireGrantWithin({*ends_at, wanted.allowed_cidrs}, ceilings); !within.ok()) return within;

  KeyRecord key = minted.RecordFor(wanted.organization, state.now);
  key.display_name = wanted.display_name;
  key.description = wanted.description;
  key.role = wanted.role;
  key.owner = wanted.owner;
  key.labels = wanted.labels;
  key.allowed_cidrs = wanted.allowed_cidrs;
  key.creator = caller.name();
  key.creator_kid = caller.kid;
  key.expires_at = *ends_at;
  KeyDecision decision = Write(std::move(key), audit);
  decision.mutation.changes.front().new_secret = minted.secret;
  decision.mutation.request_name = core::KeyNameOf(wanted.organization, minted.kid);
  return decision;
}

absl::StatusOr<KeyDecision> DecideUpdate(const LockedState& state, const Principal& caller, const KeyEdit& edit,
                                         bool organization_locked, const Audit& audit) {
  const absl::StatusOr<Authority> holder = CallerAuthority(state, caller, kKeysUpdate);
  if (!holder.ok()) return holder.status();
  const absl::StatusOr<KeyRecord> target = FindTarget(state, caller, edit.organization, edit.kid);
  if (!target.ok()) return target.status();
  if (target->deleted()) return errors::KeyDeleted(core::KeyNameOf(edit.organization, edit.kid));
  if (absl::Status same = RequireEtag(edit.etag, *target); !same.ok()) return same;
  const Authority held = AuthorityOf(state, *target);
  if (absl::Status within = RequireRoleAtMost(target->role, held.permissions, {*holder}); !within.ok()) return within;

  absl::StatusOr<KeyRecord> key = Edited(*target, edit, state.now);
  if (!key.ok()) return key.status();
  if (*key == *target) return NothingToChange(*target);
  // One that is above it since before there was the limit may be lowered step by step.
  if (KeyTextBytes(*key) > std::max(kMaxKeyTextBytes, KeyTextBytes(*target))) {
    return errors::FieldInvalid("key", kKeyTextsWanted);
  }

  const std::vector<Authority> ceilings = GrantCeilings(state, caller, *holder, target->creator_kid);
  const Authority holds = AuthorityOf(state, *key);
  if (key->role != target->role) {
    if (FindPermissions(state, key->organization, key->role) == nullptr) {
      return errors::RoleUnknown("key.role", key->role, key->organization);
    }
    if (absl::Status within = RequireRoleAtMost(key->role, holds.permissions, ceilings); !within.ok()) return within;
  }
  const Grant grant = GrantOf(*target, held, *key, holds);
  if (absl::Status within = RequireGrantWithin(grant, ceilings); !within.ok()) return within;
  if (key->role != target->role || key->expires_at < target->expires_at ||
      !core::CidrsAtMost(target->allowed_cidrs, key->allowed_cidrs)) {
    if (absl::Status kept = RequireDescendantsAtMost(state, holds.permissions); !kept.ok()) return kept;
  }
  key->updated_at = state.now;
  return WriteUnlessLastOwner(state, *target, *std::move(key), organization_locked, audit);
}

absl::StatusOr<KeyDecision> DecideDelete(const LockedState& state, const Principal& caller, const KeyRemoval& removal,
                                         bool organization_locked, absl::Duration keep_deleted, const Audit& audit) {
  const absl::StatusOr<Authority> holder = CallerAuthority(state, caller, kKeysDelete);
  if (!holder.ok()) return holder.status();
  const absl::StatusOr<KeyRecord> target = FindTarget(state, caller, removal.organization, removal.kid);
  if (!target.ok()) return target.status();
  const Authority held = AuthorityOf(state, *target);
  if (absl::Status within = RequireRoleAtMost(target->role, held.permissions, {*holder}); !within.ok()) return within;

  KeyRecord key = *target;
  key.updated_at = state.now;
  key.delete_reason = removal.reason;
  if (target->deleted()) {
    // A retry of a delete that was acknowledged, also with the etag of before: only a stronger reason is news.
    if (!IsStronger(removal.reason, target->delete_reason)) return NothingToChange(*target);
    return Write(std::move(key), audit);
  }
  if (absl::Status same = RequireEtag(removal.etag, *target); !same.ok()) return same;
  key.deleted_at = state.now;
  key.purge_at = state.now + keep_deleted;
  return WriteUnlessLastOwner(state, *target, std::move(key), organization_locked, audit);
}

}  // namespace latchkey::keys
