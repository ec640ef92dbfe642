#include "server/keys/admin/key_registry.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/core/cidr.h"
#include "client/core/permissions.h"
#include "server/base/errors.h"
#include "server/keys/admin/ceiling.h"
#include "server/keys/crypto/key_minter.h"
#include "server/model/built_in_roles.h"
#include "server/model/change_codec.h"

namespace latchkey::keys {
namespace {

using storage::LockedState;
using storage::LockPlan;
using storage::Mutation;

constexpr char kCreateMethod[] = "latchkey.v1.KeyAdmin/CreateKey";
constexpr char kUpdateMethod[] = "latchkey.v1.KeyAdmin/UpdateKey";
constexpr char kDeleteMethod[] = "latchkey.v1.KeyAdmin/DeleteKey";

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

// An owner that its organization can count on.
bool IsLastingOwner(const KeyRecord& key) {
  return key.role == kOwnerRole && key.expires_at == Never() && !key.deleted();
}

// The last lasting owner of an organization must stay one: from inside, nobody else could make another.
absl::Status RequireAnotherOwner(const LockedState& state, const KeyRecord& target) {
  if (!IsLastingOwner(target) || state.other_owners > 0) return absl::OkStatus();
  for (const auto& [kid, key] : state.keys) {
    // `other_owners` leaves out all the keys that were locked, the caller among them.
    if (kid != target.kid && key.organization == target.organization && IsLastingOwner(key)) return absl::OkStatus();
  }
  return errors::LastOwner(target.organization);
}

bool Stronger(DeleteReason wanted, DeleteReason had) {
  const auto rank = [](DeleteReason reason) {
    if (reason == DeleteReason::kUnspecified) return 0;
    return reason == DeleteReason::kCompromised ? 2 : 1;
  };
  return rank(wanted) > rank(had);
}

Mutation WriteKey(const KeyRecord& key, const Audit& audit) {
  Mutation mutation;
  Change change;
  change.key = key;
  change.body = EncodeBody(change, audit);
  mutation.changes.push_back(std::move(change));
  return mutation;
}

}  // namespace

std::string EtagOf(int64_t revision) { return absl::WebSafeBase64Escape(absl::StrCat("1:", revision)); }

KeyRegistry::KeyRegistry(storage::KeyStore& store, KeyIndex& index, LogFollower& follower, const KeyMinter& minter,
                         const base::Clock& clock, Options options)
    : store_(store), index_(index), follower_(follower), minter_(minter), clock_(clock), options_(std::move(options)) {}

absl::Time KeyRegistry::DatabaseNow() const { return index_.Read().DatabaseTimeAt(clock_.BootNow()); }

KeyRegistry::State KeyRegistry::StateOf(const KeyRecord& key, absl::Time now) {
  if (key.deleted()) return State::kDeleted;
  return key.expires_at <= now ? State::kExpired : State::kActive;
}

absl::StatusOr<storage::Committed> KeyRegistry::Commit(const LockPlan& plan, storage::KeyStore::Decide decide,
                                                       const std::vector<KeyProof>& proofs) {
  absl::StatusOr<storage::Committed> committed = store_.Commit(plan, decide);
  // Before the reply, so that this server answers by it at once.
  if (committed.ok()) follower_.Deliver(committed->rows, proofs);
  return committed;
}

absl::StatusOr<WithRevision<KeyRecord>> KeyRegistry::CommitKey(LockPlan& plan, storage::KeyStore::Decide decide,
                                                               const bool& start_over, KeyRecord& key) {
  absl::StatusOr<storage::Committed> committed = Commit(plan, decide);
  if (start_over) {
    // It has become an owner since it was looked at: two owners must not lower each other at once.
    plan.lock_organization = true;
    committed = Commit(plan, decide);
  }
  if (!committed.ok()) return committed.status();
  if (!committed->rows.empty()) {
    const LogRow& row = committed->rows.back();
    key.revision = row.rev;
    return WithRevision<KeyRecord>{std::move(key), core::RevisionToken::Of(row.rev, row.chain)};
  }
  // Nothing was to be changed: the state is as old as its revision.
  const absl::StatusOr<std::optional<std::string>> chain = store_.ReadChain(key.revision);
  if (!chain.ok()) return chain.status();
  WithRevision<KeyRecord> unchanged;
  if (*chain) unchanged.revision = core::RevisionToken::Of(key.revision, **chain);
  unchanged.record = std::move(key);
  return unchanged;
}

Audit KeyRegistry::AuditFor(const Principal& caller, const char* method, const std::string& request_id) const {
  return Audit{caller.name(), caller.peer, method, request_id, options_.server};
}

absl::StatusOr<IssuedKey> KeyRegistry::Create(const Principal& caller, const NewKey& wanted, absl::Duration patience) {
  if (!caller.ActsOn(wanted.organization)) {
    return errors::OrganizationNotFound(core::OrganizationNameOf(wanted.organization));
  }
  // Hashed before the transaction: no lock is ever held over an Argon2.
  absl::StatusOr<MintedKey> minted = minter_.Mint(options_.label, patience);
  if (!minted.ok()) return minted.status();

  LockPlan plan;
  plan.kids = {caller.kid};
  plan.roles = {{wanted.organization, wanted.role}};
  plan.organization = wanted.organization;
  plan.lock_organization = true;
  plan.request_scope = caller.kid;
  plan.request_id = wanted.request_id;
  KeyRecord key;
  const auto decide = [&](const LockedState& state) -> absl::StatusOr<Mutation> {
    const absl::StatusOr<Authority> holder = CallerAuthority(state, caller, kKeysCreate);
    if (!holder.ok()) return holder.status();
    if (!state.organization || state.organization->deleted()) {
      return errors::OrganizationNotFound(core::OrganizationNameOf(wanted.organization));
    }
    if (!state.replayed_name.empty()) return errors::RequestReplayed(state.replayed_name);
    const std::vector<std::string>* const permissions = FindPermissions(state, wanted.organization, wanted.role);
    if (permissions == nullptr) return errors::RoleUnknown("key.role", wanted.role, wanted.organization);
    if (absl::Status within = RequireRoleAtMost(wanted.role, *permissions, *holder); !within.ok()) return within;
    const absl::StatusOr<absl::Time> ends_at = EndOf(wanted.expiration, state.now);
    if (!ends_at.ok()) return ends_at.status();
    if (absl::Status within = RequireEndsWithin(*ends_at, *holder); !within.ok()) return within;
    if (absl::Status within = RequireCidrsWithin(wanted.allowed_cidrs, *holder); !within.ok()) return within;

    key = minted->RecordFor(wanted.organization, state.now);
    key.display_name = wanted.display_name;
    key.description = wanted.description;
    key.role = wanted.role;
    key.owner = wanted.owner;
    key.labels = wanted.labels;
    key.allowed_cidrs = wanted.allowed_cidrs;
    key.creator = caller.name();
    key.creator_kid = caller.kid;
    key.expires_at = *ends_at;
    Mutation mutation = WriteKey(key, AuditFor(caller, kCreateMethod, wanted.request_id));
    mutation.changes.front().new_secret = minted->secret;
    mutation.request_name = core::KeyNameOf(key.organization, key.kid);
    return mutation;
  };
  // The proof comes with the row, so that the first verification costs no Argon2.
  const absl::StatusOr<storage::Committed> committed =
      Commit(plan, decide, {KeyProof{minted->kid, minted->secret.version, minted->proof}});
  if (!committed.ok()) return committed.status();
  const LogRow& row = committed->rows.back();
  key.revision = row.rev;
  return IssuedKey{std::move(key), core::RevisionToken::Of(row.rev, row.chain), std::move(minted->key_string)};
}

absl::StatusOr<KeyRecord> KeyRegistry::Get(const Principal& caller, const std::string& organization,
                                           const std::string& kid) {
  const absl::Status none = errors::KeyNotFound(core::KeyNameOf(organization, kid));
  if (!caller.ActsOn(organization)) return none;
  absl::StatusOr<std::optional<KeyRecord>> key = store_.ReadKey(kid);
  if (!key.ok()) return key.status();
  if (!*key || (*key)->organization != organization) return none;
  return **std::move(key);
}

absl::StatusOr<KeyPage> KeyRegistry::List(const Principal& caller, const storage::KeyQuery& query) {
  const absl::Status none = errors::OrganizationNotFound(core::OrganizationNameOf(query.organization));
  if (!caller.ActsOn(query.organization)) return none;
  const absl::StatusOr<std::optional<OrganizationRecord>> organization = store_.ReadOrganization(query.organization);
  if (!organization.ok()) return organization.status();
  if (!*organization) return none;
  storage::KeyQuery one_more = query;
  ++one_more.limit;
  absl::StatusOr<std::vector<KeyRecord>> keys = store_.ListKeys(one_more);
  if (!keys.ok()) return keys.status();
  KeyPage page{*std::move(keys), false};
  if (page.keys.size() > static_cast<size_t>(query.limit)) {
    page.keys.resize(query.limit);
    page.more = true;
  }
  return page;
}

absl::StatusOr<WithRevision<KeyRecord>> KeyRegistry::Update(const Principal& caller, const KeyEdit& edit) {
  const std::string name = core::KeyNameOf(edit.organization, edit.kid);
  // The creator never changes, so it can be looked up before the locks that include it.
  const absl::StatusOr<KeyRecord> seen = Get(caller, edit.organization, edit.kid);
  if (!seen.ok()) return seen.status();

  LockPlan plan;
  plan.kids = {caller.kid, edit.kid};
  if (!seen->creator_kid.empty()) plan.kids.push_back(seen->creator_kid);
  if (edit.role) plan.roles = {{edit.organization, *edit.role}};
  plan.organization = edit.organization;
  plan.lock_organization = IsLastingOwner(*seen);
  plan.children_of = edit.kid;
  plan.count_other_owners = true;
  bool start_over = false;
  KeyRecord key;
  const auto decide = [&](const LockedState& state) -> absl::StatusOr<Mutation> {
    const absl::StatusOr<Authority> holder = CallerAuthority(state, caller, kKeysUpdate);
    if (!holder.ok()) return holder.status();
    const absl::StatusOr<KeyRecord> target = FindTarget(state, caller, edit.organization, edit.kid);
    if (!target.ok()) return target.status();
    if (target->deleted()) return errors::KeyDeleted(name);
    if (!edit.etag.empty() && edit.etag != EtagOf(target->revision)) return errors::EtagMismatch(name);
    const Authority old = AuthorityOf(state, *target);
    if (absl::Status within = RequireRoleAtMost(target->role, old.permissions, *holder); !within.ok()) return within;

    key = *target;
    if (edit.display_name) key.display_name = *edit.display_name;
    if (edit.description) key.description = *edit.description;
    if (edit.owner) key.owner = *edit.owner;
    if (edit.labels) key.labels = *edit.labels;
    if (edit.allowed_cidrs) key.allowed_cidrs = *edit.allowed_cidrs;
    if (edit.role) key.role = *edit.role;
    if (edit.expiration) {
      const absl::StatusOr<absl::Time> ends_at = EndOf(*edit.expiration, state.now);
      if (!ends_at.ok()) return ends_at.status();
      key.expires_at = *ends_at;
    }
    if (key == *target) return Mutation();

    std::vector<Authority> ceilings = {*holder};
    if (const auto creator = state.keys.find(key.creator_kid); creator != state.keys.end()) {
      if (!creator->second.deleted()) ceilings.push_back(AuthorityOf(state, creator->second));
    }
    Authority lowered = old;
    if (key.role != target->role) {
      const std::vector<std::string>* const permissions = FindPermissions(state, key.organization, key.role);
      if (permissions == nullptr) return errors::RoleUnknown("key.role", key.role, key.organization);
      for (const Authority& ceiling : ceilings) {
        if (absl::Status within = RequireRoleAtMost(key.role, *permissions, ceiling); !within.ok()) return within;
      }
      lowered.permissions = *permissions;
    }
    lowered.expires_at = key.expires_at;
    // A greater role is a grant for as long as the key lives and from wherever it may be used, just as a longer life or
    // a restriction taken away is.
    const bool more_permissions = !core::AtMost(lowered.permissions, old.permissions);
    const bool longer = key.expires_at > target->expires_at;
    const bool wider = !core::CidrsAtMost(key.allowed_cidrs, target->allowed_cidrs);
    for (const Authority& ceiling : ceilings) {
      if (longer || more_permissions) {
        if (absl::Status within = RequireEndsWithin(key.expires_at, ceiling); !within.ok()) return within;
      }
      if (wider || more_permissions) {
        if (absl::Status within = RequireCidrsWithin(key.allowed_cidrs, ceiling); !within.ok()) return within;
      }
    }
    if (key.role != target->role || key.expires_at < target->expires_at) {
      if (absl::Status kept = RequireDescendantsAtMost(state, lowered); !kept.ok()) return kept;
    }
    if (!IsLastingOwner(key)) {
      start_over = IsLastingOwner(*target) && !plan.lock_organization;
      if (start_over) return Mutation();
      if (absl::Status kept = RequireAnotherOwner(state, *target); !kept.ok()) return kept;
    }
    key.updated_at = state.now;
    return WriteKey(key, AuditFor(caller, kUpdateMethod, ""));
  };
  return CommitKey(plan, decide, start_over, key);
}

absl::StatusOr<WithRevision<KeyRecord>> KeyRegistry::Delete(const Principal& caller, const KeyRemoval& removal) {
  const std::string name = core::KeyNameOf(removal.organization, removal.kid);
  // Looked at before it is locked: nobody may hold up another organization's keys.
  const absl::StatusOr<KeyRecord> seen = Get(caller, removal.organization, removal.kid);
  if (!seen.ok()) return seen.status();
  LockPlan plan;
  plan.kids = {caller.kid, removal.kid};
  plan.organization = removal.organization;
  plan.lock_organization = IsLastingOwner(*seen);
  plan.count_other_owners = true;
  bool start_over = false;
  KeyRecord key;
  const auto decide = [&](const LockedState& state) -> absl::StatusOr<Mutation> {
    const absl::StatusOr<Authority> holder = CallerAuthority(state, caller, kKeysDelete);
    if (!holder.ok()) return holder.status();
    const absl::StatusOr<KeyRecord> target = FindTarget(state, caller, removal.organization, removal.kid);
    if (!target.ok()) return target.status();
    const Authority held = AuthorityOf(state, *target);
    if (absl::Status within = RequireRoleAtMost(target->role, held.permissions, *holder); !within.ok()) return within;
    key = *target;
    if (target->deleted()) {
      // A retry of a delete that was acknowledged, also with the etag of before: only a stronger reason is news.
      if (!Stronger(removal.reason, target->delete_reason)) return Mutation();
      key.delete_reason = removal.reason;
      key.updated_at = state.now;
      return WriteKey(key, AuditFor(caller, kDeleteMethod, ""));
    }
    if (!removal.etag.empty() && removal.etag != EtagOf(target->revision)) return errors::EtagMismatch(name);
    start_over = IsLastingOwner(*target) && !plan.lock_organization;
    if (start_over) return Mutation();
    if (absl::Status kept = RequireAnotherOwner(state, *target); !kept.ok()) return kept;
    key.deleted_at = state.now;
    key.updated_at = state.now;
    key.purge_at = state.now + options_.keep_deleted;
    key.delete_reason = removal.reason;
    return WriteKey(key, AuditFor(caller, kDeleteMethod, ""));
  };
  return CommitKey(plan, decide, start_over, key);
}

}  // namespace latchkey::keys
