#include "server/keys/admin/key_registry.h"

#include <optional>
#include <utility>

#include "client/core/resource_names.h"
#include "server/base/errors.h"
#include "server/keys/admin/committed_record.h"

namespace latchkey::keys {
namespace {

using storage::LockedState;
using storage::LockPlan;

constexpr char kCreateMethod[] = "latchkey.v1.KeyAdmin/CreateKey";
constexpr char kUpdateMethod[] = "latchkey.v1.KeyAdmin/UpdateKey";
constexpr char kDeleteMethod[] = "latchkey.v1.KeyAdmin/DeleteKey";

// What `edit` would leave beyond the key it changes.
storage::ChildrenQuery ChildrenBeyond(const KeyEdit& edit) {
  storage::ChildrenQuery children{.creator_kid = edit.kid};
  if (edit.expiration) {
    children.end = edit.expiration->at.value_or(Never());
    children.ttl = edit.expiration->ttl;
  }
  if (edit.allowed_cidrs) children.allowed_cidrs = *edit.allowed_cidrs;
  return children;
}

}  // namespace

KeyRegistry::KeyRegistry(storage::KeyStore& store, storage::KeyStore& revocations, KeyIndex& index,
                         LogFollower& follower, const KeyMinter& minter, const base::Clock& clock, Options options)
    : store_(store),
      revocations_(revocations),
      index_(index),
      follower_(follower),
      minter_(minter),
      clock_(clock),
      options_(std::move(options)) {}

absl::Time KeyRegistry::DatabaseNow() const { return index_.Read().DatabaseTimeAt(clock_.BootNow()); }

KeyRegistry::State KeyRegistry::StateOf(const KeyRecord& key, absl::Time now) {
  if (key.deleted()) return State::kDeleted;
  return key.expires_at <= now ? State::kExpired : State::kActive;
}

absl::StatusOr<WithRevision<KeyRecord>> KeyRegistry::Commit(storage::KeyStore& store, LockPlan plan, DecideKey decide,
                                                            const std::vector<KeyProof>& proofs) {
  KeyDecision decision;
  const auto decide_mutation = [&](const LockedState& state) -> absl::StatusOr<storage::Mutation> {
    absl::StatusOr<KeyDecision> decided = decide(state, plan.lock_organization);
    if (!decided.ok()) return decided.status();
    decision = *std::move(decided);
    return decision.mutation;
  };
  absl::StatusOr<storage::Committed> committed = store.Commit(plan, decide_mutation);
  if (committed.ok() && decision.outcome == KeyDecision::Outcome::kStartOver) {
    plan.lock_organization = true;
    committed = store.Commit(plan, decide_mutation);
  }
  if (!committed.ok()) return committed.status();
  return CommittedRecord(store, follower_, *committed, std::move(decision.key), proofs);
}

Audit KeyRegistry::AuditFor(const Principal& caller, const char* method, const std::string& request_id) const {
  return Audit{caller.name(), caller.peer, method, request_id, options_.server};
}

absl::StatusOr<IssuedKey> KeyRegistry::Create(const Principal& caller, const NewKey& wanted, absl::Duration patience) {
  if (!caller.ActsOn(wanted.organization)) {
    return errors::OrganizationNotFound(core::OrganizationNameOf(wanted.organization));
  }
  // Hashed before the transaction: no lock is ever held over an Argon2.
  absl::StatusOr<MintedKey> minted = minter_.Mint(options_.label, patience, caller.share());
  if (!minted.ok()) return minted.status();

  LockPlan plan;
  plan.kids = {caller.kid};
  plan.roles = {{wanted.organization, wanted.role}};
  plan.organization = wanted.organization;
  plan.lock_organization = true;
  plan.count_keys = true;
  plan.request_scope = caller.kid;
  plan.request_id = wanted.request_id;
  const Audit audit = AuditFor(caller, kCreateMethod, wanted.request_id);
  const auto decide = [&](const LockedState& state, bool /*organization_locked*/) {
    return DecideCreate(state, caller, wanted, *minted, audit);
  };
  // The proof comes with the row, so that the first verification costs no Argon2.
  absl::StatusOr<WithRevision<KeyRecord>> created =
      Commit(store_, std::move(plan), decide, {KeyProof{minted->kid, minted->secret.version, minted->proof}});
  if (!created.ok()) return created.status();
  return IssuedKey{std::move(created->record), created->revision, std::move(minted->key_string)};
}

absl::StatusOr<KeyRecord> KeyRegistry::Get(const Principal& caller, const std::string& organization,
                                           const std::string& kid) {
  return Read(store_, caller, organization, kid);
}

absl::StatusOr<KeyRecord> KeyRegistry::Read(storage::KeyStore& store, const Principal& caller,
                                            const std::string& organization, const std::string& kid) {
  const absl::Status none = errors::KeyNotFound(core::KeyNameOf(organization, kid));
  if (!caller.ActsOn(organization)) return none;
  absl::StatusOr<std::optional<KeyRecord>> key = store.ReadKey(organization, kid);
  if (!key.ok()) return key.status();
  if (!*key) return none;
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
  storage::KeyStore& store = edit.may_lower() ? revocations_ : store_;
  // The creator never changes, so it can be looked up before the locks that include it.
  const absl::StatusOr<KeyRecord> seen = Read(store, caller, edit.organization, edit.kid);
  if (!seen.ok()) return seen.status();
  LockPlan plan;
  plan.kids = {caller.kid, edit.kid};
  if (!seen->creator_kid.empty()) plan.kids.push_back(seen->creator_kid);
  if (edit.role) plan.roles = {{edit.organization, *edit.role}};
  plan.organization = edit.organization;
  plan.lock_organization = IsLastingOwner(*seen);
  if (edit.may_lower()) plan.children = ChildrenBeyond(edit);
  plan.count_other_owners = true;
  const Audit audit = AuditFor(caller, kUpdateMethod, "");
  return Commit(store, std::move(plan), [&](const LockedState& state, bool organization_locked) {
    return DecideUpdate(state, caller, edit, organization_locked, audit);
  });
}

absl::StatusOr<WithRevision<KeyRecord>> KeyRegistry::Delete(const Principal& caller, const KeyRemoval& removal) {
  // Looked at before it is locked: nobody may hold up another organization's keys.
  const absl::StatusOr<KeyRecord> seen = Read(revocations_, caller, removal.organization, removal.kid);
  if (!seen.ok()) return seen.status();
  LockPlan plan;
  plan.kids = {caller.kid, removal.kid};
  plan.organization = removal.organization;
  plan.lock_organization = IsLastingOwner(*seen);
  plan.count_other_owners = true;
  const Audit audit = AuditFor(caller, kDeleteMethod, "");
  return Commit(revocations_, std::move(plan), [&](const LockedState& state, bool organization_locked) {
    return DecideDelete(state, caller, removal, organization_locked, options_.keep_deleted, audit);
  });
}

}  // namespace latchkey::keys
