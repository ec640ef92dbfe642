#include <algorithm>
#include <tuple>

#include "server/base/errors.h"
#include "server/storage/memory/memory_key_store.h"

namespace latchkey::storage {

absl::StatusOr<Snapshot> MemoryKeyStore::LoadSnapshot() {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  Snapshot snapshot;
  snapshot.position = {log_.back().rev, log_.back().chain};
  snapshot.now = clock_();
  for (const auto& [id, organization] : state_.organizations) snapshot.organizations.push_back(organization);
  for (const auto& [id, role] : state_.roles) snapshot.roles.push_back(role);
  for (const auto& [kid, key] : state_.keys) snapshot.keys.push_back(key);
  return snapshot;
}

absl::StatusOr<LogPage> MemoryKeyStore::ReadLog(int64_t cursor, int limit) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  LogPage page;
  page.head = log_.back().rev;
  page.now = clock_();
  for (int64_t rev = std::max<int64_t>(cursor, 0); rev <= page.head && static_cast<int>(page.rows.size()) < limit;
       ++rev) {
    page.rows.push_back(log_[static_cast<size_t>(rev)]);
  }
  return page;
}

absl::StatusOr<std::optional<keys::KeyRecord>> MemoryKeyStore::ReadKey(const std::string& kid) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  const auto it = state_.keys.find(kid);
  return it == state_.keys.end() ? std::nullopt : std::optional(it->second);
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
    keys.push_back(key);
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

absl::StatusOr<std::vector<keys::RoleRecord>> MemoryKeyStore::ListRoles(const std::string& organization) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::vector<keys::RoleRecord> roles;
  for (const auto& [id, role] : state_.roles) {
    if (id.first == organization) roles.push_back(role);
  }
  return roles;
}

absl::StatusOr<std::vector<keys::StoredSecret>> MemoryKeyStore::ReadSecrets(const std::string& kid) {
  const std::lock_guard lock(mutex_);
  if (unavailable_) return errors::DatabaseUnavailable();
  std::vector<keys::StoredSecret> secrets;
  if (const auto it = state_.secrets.find(kid); it != state_.secrets.end()) {
    for (const auto& [version, secret] : it->second) secrets.push_back(secret);
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
