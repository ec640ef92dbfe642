#include "server/keys/key_index.h"

#include <functional>
#include <utility>

#include "client/core/resource_names.h"
#include "server/keys/built_in_roles.h"

namespace latchkey::keys {
namespace {

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

using KeyMap = std::unordered_map<std::string, std::shared_ptr<const KeyRecord>, TextHash, std::equal_to<>>;
// Version → proof; nearly every key has one version.
using ProofMap = std::unordered_map<std::string, std::vector<std::pair<int32_t, Proof>>, TextHash, std::equal_to<>>;

}  // namespace

struct KeyIndex::KeyShard {
  mutable std::mutex mutex;
  KeyMap keys;
};

struct KeyIndex::ProofShard {
  mutable std::mutex mutex;
  ProofMap proofs;
};

KeyIndex::KeyIndex()
    : keys_(std::make_unique<std::array<KeyShard, kShards>>()),
      proofs_(std::make_unique<std::array<ProofShard, kShards>>()) {}
KeyIndex::~KeyIndex() = default;

KeyIndex::KeyShard& KeyIndex::ShardOf(std::string_view kid) const { return (*keys_)[TextHash()(kid) % kShards]; }
KeyIndex::ProofShard& KeyIndex::ProofShardOf(std::string_view kid) const {
  return (*proofs_)[TextHash()(kid) % kShards];
}

KeyIndex::Reading KeyIndex::Read() const {
  const std::lock_guard<std::mutex> lock(reading_mutex_);
  return reading_;
}

std::shared_ptr<const KeyRecord> KeyIndex::FindKey(std::string_view kid) const {
  KeyShard& shard = ShardOf(kid);
  const std::lock_guard<std::mutex> lock(shard.mutex);
  const auto found = shard.keys.find(kid);
  return found == shard.keys.end() ? nullptr : found->second;
}

std::shared_ptr<const OrganizationRecord> KeyIndex::FindOrganization(const std::string& id) const {
  const std::shared_lock<std::shared_mutex> lock(names_mutex_);
  const auto found = organizations_.find(id);
  return found == organizations_.end() ? nullptr : found->second;
}

std::shared_ptr<const RoleRecord> KeyIndex::FindRole(const std::string& organization, const std::string& id) const {
  if (const RoleRecord* const built_in = FindBuiltInRole(id)) {
    return {std::shared_ptr<void>(), built_in};  // Lives for ever: nothing to own.
  }
  const std::shared_lock<std::shared_mutex> lock(names_mutex_);
  const auto found = roles_.find(core::RoleNameOf(organization, id));
  return found == roles_.end() ? nullptr : found->second;
}

LogPosition KeyIndex::position() const {
  const std::shared_lock<std::shared_mutex> lock(names_mutex_);
  return position_;
}

void KeyIndex::PutKey(const KeyRecord& key) {
  auto record = std::make_shared<const KeyRecord>(key);
  KeyShard& shard = ShardOf(key.kid);
  const std::lock_guard<std::mutex> lock(shard.mutex);
  shard.keys[key.kid] = std::move(record);
}

void KeyIndex::Replace(const LogPosition& position, std::vector<OrganizationRecord> organizations,
                       std::vector<RoleRecord> roles, const std::vector<KeyRecord>& keys) {
  {
    // Between clearing and filling a reader may miss a key: no answer until the next Extend, and none by a reader who
    // has the lease of before.
    const std::lock_guard<std::mutex> lock(reading_mutex_);
    reading_.lease_until = base::BootTime::Never();
    ++reading_.generation;
  }
  for (KeyShard& shard : *keys_) {
    const std::lock_guard<std::mutex> lock(shard.mutex);
    shard.keys.clear();
  }
  for (const KeyRecord& key : keys) PutKey(key);
  // In another history a version's number may belong to another secret.
  for (ProofShard& shard : *proofs_) {
    const std::lock_guard<std::mutex> lock(shard.mutex);
    shard.proofs.clear();
  }
  {
    const std::unique_lock<std::shared_mutex> lock(names_mutex_);
    organizations_.clear();
    roles_.clear();
    for (OrganizationRecord& organization : organizations) {
      const std::string id = organization.id;
      organizations_[id] = std::make_shared<const OrganizationRecord>(std::move(organization));
    }
    for (RoleRecord& role : roles) {
      const std::string name = core::RoleNameOf(role.organization, role.id);
      roles_[name] = std::make_shared<const RoleRecord>(std::move(role));
    }
    position_ = position;
  }
  const std::lock_guard<std::mutex> lock(reading_mutex_);
  reading_.revision = position.rev;
}

void KeyIndex::Apply(const LogPosition& position, const Change& change) {
  if (change.key) PutKey(*change.key);
  {
    const std::unique_lock<std::shared_mutex> lock(names_mutex_);
    if (change.organization) {
      organizations_[change.organization->id] = std::make_shared<const OrganizationRecord>(*change.organization);
    }
    if (change.role) {
      const std::string name = core::RoleNameOf(change.role->organization, change.role->id);
      if (change.role->removed) {
        roles_.erase(name);
      } else {
        roles_[name] = std::make_shared<const RoleRecord>(*change.role);
      }
    }
    position_ = position;
  }
  const std::lock_guard<std::mutex> lock(reading_mutex_);
  reading_.revision = position.rev;
}

void KeyIndex::Extend(base::BootTime lease_until, absl::Time database_now, base::BootTime sampled_at) {
  const std::lock_guard<std::mutex> lock(reading_mutex_);
  if (lease_until > reading_.lease_until) reading_.lease_until = lease_until;
  reading_.database_now = database_now;
  reading_.sampled_at = sampled_at;
}

void KeyIndex::EndLease() {
  const std::lock_guard<std::mutex> lock(reading_mutex_);
  reading_.lease_until = base::BootTime::Never();
}

std::optional<Proof> KeyIndex::FindProof(std::string_view kid, int32_t version) const {
  ProofShard& shard = ProofShardOf(kid);
  const std::lock_guard<std::mutex> lock(shard.mutex);
  const auto found = shard.proofs.find(kid);
  if (found == shard.proofs.end()) return std::nullopt;
  for (const auto& [id, proof] : found->second) {
    if (id == version) return proof;
  }
  return std::nullopt;
}

void KeyIndex::RememberProof(const std::string& kid, int32_t version, const Proof& proof) {
  ProofShard& shard = ProofShardOf(kid);
  const std::lock_guard<std::mutex> lock(shard.mutex);
  auto& known = shard.proofs[kid];
  for (auto& [id, old] : known) {
    if (id == version) {
      old = proof;
      return;
    }
  }
  known.emplace_back(version, proof);
}

void KeyIndex::ForgetProofs(const std::string& kid) {
  ProofShard& shard = ProofShardOf(kid);
  const std::lock_guard<std::mutex> lock(shard.mutex);
  shard.proofs.erase(kid);
}

size_t KeyIndex::key_count() const {
  size_t count = 0;
  for (const KeyShard& shard : *keys_) {
    const std::lock_guard<std::mutex> lock(shard.mutex);
    count += shard.keys.size();
  }
  return count;
}

}  // namespace latchkey::keys
