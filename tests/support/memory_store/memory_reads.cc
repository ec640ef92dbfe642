#include <algorithm>
#include <limits>
#include <string_view>
#include <tuple>

#include "server/base/errors.h"
#include "tests/support/memory_store/memory_key_store.h"

namespace latchkey::storage {

namespace {

// A key as a snapshot shows it. Keeps what the views of the key point into, beside the record itself.
struct ShownKey {
  explicit ShownKey(const keys::KeyRecord& key) : labels(key.labels.begin(), key.labels.end()) {
    cidrs.assign(key.allowed_cidrs.begin(), key.allowed_cidrs.end());
    shown.organization = key.organization;
    shown.kid = key.kid;
    shown.display_name = key.display_name;
    shown.role = key.role;
    shown.owner = key.owner;
    shown.labels = labels;
    shown.allowed_cidrs = cidrs;
    shown.expires_at = key.expires_at;
    shown.purge_at = key.purge_at;
    shown.deleted = key.deleted();
  }
  std::vector<std::pair<std::string_view, std::string_view>> labels;
  std::vector<std::string_view> cidrs;
  std::vector<SnapshotVersion> versions;
  SnapshotKey shown;
};

}  // namespace

absl::StatusOr<SnapshotHead> MemoryKeyStore::LoadSnapshot(SnapshotSink& sink) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  const SnapshotHead head = {{log_.back().rev, log_.back().chain}, Now(), state_.settings, History()};
  sink.Begin(head.position, static_cast<int64_t>(state_.keys.size()));
  for (const auto& [id, organization] : state_.organizations) sink.Add(organization);
  for (const auto& [id, role] : state_.roles) sink.Add(role);
  for (const auto& [kid, key] : state_.keys) {
    ShownKey key_view(key);
    for (const keys::SecretVersion& version : key.versions) {
      key_view.versions.push_back({version.id, version.expires_at, ProofOf(kid, version.id)});
    }
    key_view.shown.versions = key_view.versions;
    sink.Add(key_view.shown);
  }
  return head;
}

absl::StatusOr<keys::Settings> MemoryKeyStore::ReadSettings() {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  return state_.settings;
}

keys::Proof MemoryKeyStore::ProofOf(const std::string& kid, int32_t version) const {
  const auto proofs = state_.proofs.find(kid);
  if (proofs == state_.proofs.end()) return {};
  const auto proof = proofs->second.find(version);
  return proof == proofs->second.end() ? keys::Proof() : proof->second;
}

// Versions that are gone count for the key.
keys::KeyRecord MemoryKeyStore::WithUse(keys::KeyRecord key) const {
  for (auto it = last_uses_.lower_bound({key.kid, std::numeric_limits<int32_t>::min()});
       it != last_uses_.end() && it->first.first == key.kid; ++it) {
    key.last_used_at = std::max(key.last_used_at, it->second);
    for (keys::SecretVersion& version : key.versions) {
      if (version.id == it->first.second) version.last_used_at = it->second;
    }
  }
  return key;
}

absl::StatusOr<std::optional<keys::KeyRecord>> MemoryKeyStore::ReadKey(const std::string& organization,
                                                                       const std::string& kid) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  const auto it = state_.keys.find(kid);
  if (it == state_.keys.end() || it->second.organization != organization) return std::nullopt;
  return WithUse(it->second);
}

absl::StatusOr<std::optional<keys::OrganizationRecord>> MemoryKeyStore::ReadOrganization(const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  const auto it = state_.organizations.find(id);
  return it == state_.organizations.end() ? std::nullopt : std::optional(it->second);
}

absl::StatusOr<std::vector<keys::KeyRecord>> MemoryKeyStore::ListKeys(const KeyQuery& query) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::vector<keys::KeyRecord> keys;
  for (const auto& [kid, key] : state_.keys) {
    if (key.organization != query.organization || (key.deleted() && !query.show_deleted)) continue;
    if (!query.before_kid.empty() &&
        std::tie(key.created_at, key.kid) >= std::tie(query.before_created_at, query.before_kid)) {
      continue;
    }
    keys.push_back(WithUse(key));
  }
  std::sort(keys.begin(), keys.end(), [](const keys::KeyRecord& a, const keys::KeyRecord& b) {
    return std::tie(a.created_at, a.kid) > std::tie(b.created_at, b.kid);
  });
  if (keys.size() > static_cast<size_t>(query.limit)) keys.resize(static_cast<size_t>(query.limit));
  return keys;
}

absl::StatusOr<std::vector<keys::OrganizationRecord>> MemoryKeyStore::ListOrganizations(const std::string& after_id,
                                                                                        bool show_deleted, int limit) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::vector<keys::OrganizationRecord> organizations;
  for (auto it = state_.organizations.upper_bound(after_id); it != state_.organizations.end(); ++it) {
    if (static_cast<int>(organizations.size()) >= limit) break;
    if (show_deleted || !it->second.deleted()) organizations.push_back(it->second);
  }
  return organizations;
}

absl::StatusOr<std::vector<keys::RoleRecord>> MemoryKeyStore::ListRoles(const std::string& organization,
                                                                        const std::string& after_id, int limit) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::vector<keys::RoleRecord> roles;
  for (const auto& [id, role] : state_.roles) {
    if (id.first != organization || id.second <= after_id) continue;
    if (static_cast<int>(roles.size()) >= limit) break;
    roles.push_back(role);
  }
  return roles;
}

absl::StatusOr<std::vector<keys::StoredSecret>> MemoryKeyStore::ReadSecrets(const std::string& kid) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::vector<keys::StoredSecret> secrets;
  if (const auto it = state_.secrets.find(kid); it != state_.secrets.end()) {
    for (const auto& [version, secret] : it->second) {
      secrets.push_back(secret);
      secrets.back().proof = ProofOf(kid, version);
    }
  }
  return secrets;
}

absl::StatusOr<std::map<std::string, std::string>> MemoryKeyStore::SettleKeyRingChecks(
    const std::map<std::string, std::string>& checks) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::map<std::string, std::string> stored;
  for (const auto& [id, value] : checks) stored[id] = checks_.emplace(id, value).first->second;
  return stored;
}

}  // namespace latchkey::storage
