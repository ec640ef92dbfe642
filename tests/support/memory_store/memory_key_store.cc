#include "tests/support/memory_store/memory_key_store.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#include "client/core/cidr.h"
#include "client/core/resource_names.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"
#include "server/model/change_codec.h"

namespace latchkey::storage {
namespace {

// PostgreSQL keeps microseconds.
void TruncateToMicros(absl::Time& time) {
  if (time != absl::InfiniteFuture() && time != absl::InfinitePast())
    time = absl::FromUnixMicros(absl::ToUnixMicros(time));
}

keys::KeyRecord TruncateToMicros(keys::KeyRecord key) {
  key.last_used_at = absl::InfinitePast();  // Usage is kept elsewhere.
  for (absl::Time* time : {&key.created_at, &key.updated_at, &key.expires_at, &key.deleted_at, &key.purge_at})
    TruncateToMicros(*time);
  for (keys::SecretVersion& version : key.versions) {
    TruncateToMicros(version.created_at);
    TruncateToMicros(version.expires_at);
    version.last_used_at = absl::InfinitePast();
  }
  return key;
}

std::string RandomChain() {
  std::random_device random;
  std::string bytes(32, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

template <typename Map, typename Key>
std::function<void()> Restore(Map& map, const Key& key) {
  const auto it = map.find(key);
  if (it == map.end()) return [&map, key] { map.erase(key); };
  return [&map, key, before = it->second] { map[key] = before; };
}

bool IsAllowed(const keys::Settings& settings) {
  const auto allowed = [](absl::Duration bound) {
    return bound >= keys::kShortestBound && bound <= keys::kLongestBound;
  };
  return allowed(settings.bound) && allowed(settings.previous_bound);
}

bool IsLiveOwner(const keys::KeyRecord& key) {
  return key.role == keys::kOwnerRole && !key.deleted() && key.expires_at == keys::Never();
}

bool IsBeyond(const keys::KeyRecord& child, const ChildrenQuery& creator, absl::Time now) {
  const absl::Time end = creator.ttl ? now + *creator.ttl : creator.end;
  return (child.expires_at > end && child.expires_at > now) ||
         !core::CidrsAtMost(child.allowed_cidrs, creator.allowed_cidrs);
}

}  // namespace

MemoryKeyStore::MemoryKeyStore(std::function<absl::Time()> clock) : clock_(std::move(clock)) {
  const absl::Time now = Now();
  keys::OrganizationRecord system;
  system.id = std::string(core::kSystemOrganization);
  system.display_name = "System";
  system.created_at = system.updated_at = now;
  state_.organizations.emplace(system.id, system);
  log_.push_back(keys::LogRow{.rev = 0, .at = now, .body = "", .chain = RandomChain()});
  undo_.emplace_back();
  row_kids_.emplace_back();
}

absl::Time MemoryKeyStore::Now() const {
  absl::Time now = clock_();
  TruncateToMicros(now);
  return now;
}

core::HistoryId MemoryKeyStore::History() const {
  core::HistoryId history = 0;
  const std::string hash = keys::ChainOf(log_[0].chain, timeline_, absl::FromUnixMicros(starts_), "");
  std::memcpy(&history, hash.data(), sizeof(history));
  return history;
}

LockedState MemoryKeyStore::Look(const LockPlan& plan) const {
  LockedState seen;
  seen.now = Now();
  seen.settings = state_.settings;
  std::set<RoleId> roles(plan.roles.begin(), plan.roles.end());
  for (const std::string& kid : plan.kids) {
    const auto it = state_.keys.find(kid);
    if (it == state_.keys.end()) continue;
    seen.keys.insert(*it);
    roles.emplace(it->second.organization, it->second.role);
  }
  for (const RoleId& id : roles) {
    if (const auto it = state_.roles.find(id); it != state_.roles.end()) seen.roles.insert(*it);
  }
  if (const auto it = state_.organizations.find(plan.organization); it != state_.organizations.end()) {
    seen.organization = it->second;
  }
  std::map<RoleId, ChildGroup> children;
  for (const auto& [kid, key] : state_.keys) {
    if (!plan.children.creator_kid.empty() && key.creator_kid == plan.children.creator_kid && !key.deleted()) {
      ChildGroup& group = children[{key.organization, key.role}];
      ++group.count;
      if (IsBeyond(key, plan.children, seen.now)) ++group.beyond;
      const auto role = state_.roles.find({key.organization, key.role});
      if (role != state_.roles.end()) seen.children_roles.insert(*role);
    }
    if (plan.count_keys && seen.organization && key.organization == plan.organization && !key.deleted() &&
        seen.live_keys < seen.organization->key_quota()) {
      ++seen.live_keys;
    }
    if (plan.count_other_owners && key.organization == plan.organization && IsLiveOwner(key) &&
        std::find(plan.kids.begin(), plan.kids.end(), kid) == plan.kids.end()) {
      ++seen.other_owners;
    }
  }
  for (auto& [role, group] : children) {
    group.organization = role.first;
    group.role = role.second;
    seen.children.push_back(group);
  }
  seen.owner_ever = state_.owner_ever;
  if (!plan.request_id.empty()) {
    const auto it = state_.requests.find({plan.request_scope, plan.request_id});
    if (it != state_.requests.end()) seen.replayed_name = it->second;
  }
  return seen;
}

// What PostgreSQL's constraints refuse, found before anything is written.
absl::Status MemoryKeyStore::Check(const LockPlan& plan, const LockedState& seen, const Mutation& mutation) const {
  if (!plan.request_id.empty() && state_.requests.contains({plan.request_scope, plan.request_id})) {
    return errors::Contended();
  }
  std::set<std::string> organizations;
  std::set<std::string> keys;
  for (const auto& [id, organization] : state_.organizations) organizations.insert(id);
  for (const auto& [kid, key] : seen.keys) keys.insert(kid);
  keys::Settings settings = state_.settings;
  for (const keys::Change& change : mutation.changes) {
    if (change.settings) {
      if (!IsAllowed(*change.settings)) return errors::Internal("storage: settings outside their limits");
      if (change.settings->previous_bound < settings.bound) return errors::Contended();
      if (change.settings->level < settings.level) return errors::Contended();
      for (const auto& [id, row] : replicas_) {
        if (row.newest_level < change.settings->level) return errors::Contended();
      }
      settings = *change.settings;
      continue;
    }
    const bool belongs = change.organization.has_value() ||
                         (change.key && organizations.contains(change.key->organization)) ||
                         (change.role && organizations.contains(change.role->organization));
    if (!belongs) return errors::Internal("storage: a change of nothing, or in an organization that does not exist");
    if (change.key) {
      if (keys.insert(change.key->kid).second && state_.keys.contains(change.key->kid)) return errors::Contended();
      const auto& versions = change.key->versions;
      if (change.new_secret && std::none_of(versions.begin(), versions.end(), [&](const keys::SecretVersion& version) {
            return version.id == change.new_secret->version;
          })) {
        return errors::Internal("storage: a new secret whose version the key does not have");
      }
    }
    if (change.organization) {
      const std::string& id = change.organization->id;
      const bool known = seen.organization && seen.organization->id == id;
      if (!organizations.insert(id).second && !known && state_.organizations.contains(id)) return errors::Contended();
    }
  }
  return absl::OkStatus();
}

keys::LogRow MemoryKeyStore::Append(const std::string& body) {
  keys::LogRow row;
  row.rev = static_cast<int64_t>(log_.size());
  row.at = Now();
  row.body = body;
  row.chain = keys::ChainOf(log_.back().chain, row.rev, row.at, body);
  log_.push_back(row);
  return row;
}

std::function<void()> MemoryKeyStore::Apply(const keys::Change& change, int64_t revision) {
  if (change.organization) {
    const std::string& id = change.organization->id;
    auto undo = Restore(state_.organizations, id);
    keys::OrganizationRecord organization = *change.organization;
    for (absl::Time* time : {&organization.created_at, &organization.updated_at, &organization.deleted_at})
      TruncateToMicros(*time);
    organization.revision = revision;
    state_.organizations[id] = std::move(organization);
    return undo;
  }
  if (change.settings) {
    const keys::Settings before = state_.settings;
    state_.settings = *change.settings;
    TruncateToMicros(state_.settings.changed_at);
    return [this, before] { state_.settings = before; };
  }
  if (change.role) {
    const RoleId id(change.role->organization, change.role->id);
    auto undo = Restore(state_.roles, id);
    if (change.role->removed) {
      state_.roles.erase(id);
      return undo;
    }
    keys::RoleRecord role = *change.role;
    TruncateToMicros(role.created_at);
    TruncateToMicros(role.updated_at);
    role.revision = revision;
    state_.roles[id] = std::move(role);
    return undo;
  }
  keys::KeyRecord key = TruncateToMicros(*change.key);
  key.revision = revision;
  std::sort(key.versions.begin(), key.versions.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  auto undo = [this, key_undo = Restore(state_.keys, key.kid), secrets_undo = Restore(state_.secrets, key.kid),
               proofs_undo = Restore(state_.proofs, key.kid), owner_ever = state_.owner_ever] {
    key_undo();
    secrets_undo();
    proofs_undo();
    state_.owner_ever = owner_ever;
  };
  auto& secrets = state_.secrets[key.kid];
  auto& proofs = state_.proofs[key.kid];
  if (change.new_secret) {
    const keys::NewSecret& secret = *change.new_secret;
    secrets[secret.version] = keys::StoredSecret{secret.version, secret.hash, secret.pepper_id, {}};
    proofs.erase(secret.version);  // Of the secret before, which it must not outlive.
    if (secret.proof) proofs[secret.version] = secret.proof;
  }
  const auto is_gone = [&](const auto& item) {
    return std::none_of(key.versions.begin(), key.versions.end(), [&](const auto& v) { return v.id == item.first; });
  };
  std::erase_if(secrets, is_gone);
  std::erase_if(proofs, is_gone);
  if (key.organization == core::kSystemOrganization && key.role == keys::kOwnerRole) state_.owner_ever = true;
  const std::string kid = key.kid;
  state_.keys[kid] = std::move(key);
  return undo;
}

absl::StatusOr<Committed> MemoryKeyStore::Commit(const LockPlan& plan, Decide decide) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  const LockedState seen = Look(plan);
  const absl::StatusOr<Mutation> mutation = decide(seen);
  if (!mutation.ok()) return mutation.status();
  if (mutation->changes.empty()) return Committed();
  if (absl::Status status = keys::RequireLevel(mutation->changes, seen.settings); !status.ok()) return status;
  if (absl::Status status = Check(plan, seen, *mutation); !status.ok()) return status;

  Committed committed{.rows = {}, .history = History()};
  for (const keys::Change& change : mutation->changes) {
    const keys::LogRow row = Append(change.body);
    std::function<void()> undo = Apply(change, row.rev);
    if (committed.rows.empty() && !plan.request_id.empty()) {
      const std::pair<std::string, std::string> id(plan.request_scope, plan.request_id);
      state_.requests[id] = mutation->request_name;
      undo = [this, id, rest = std::move(undo)] {
        rest();
        state_.requests.erase(id);
      };
    }
    undo_.push_back(std::move(undo));
    row_kids_.push_back(change.key ? change.key->kid : "");
    committed.rows.push_back(row);
  }
  if (std::exchange(lose_reply_, false)) return errors::OutcomeUnknown();
  return committed;
}

}  // namespace latchkey::storage
