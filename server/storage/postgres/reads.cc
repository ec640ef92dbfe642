#include "server/storage/postgres/connection.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "server/storage/postgres/rows.h"
#include "server/storage/postgres/snapshot.h"

namespace latchkey::storage {

using postgres::Connection;

namespace {

std::vector<keys::KeyRecord> KeysFrom(const pqxx::result& result) {
  std::vector<keys::KeyRecord> keys;
  for (const auto& row : result) keys.push_back(postgres::UsedKeyFrom(row));
  return keys;
}

}  // namespace

absl::StatusOr<SnapshotHead> PostgresKeyStore::LoadSnapshot(SnapshotSink& sink) {
  SnapshotHead head;
  const absl::Status status = OnConnection(
      "loading a snapshot", [&](Connection& connection) { head = postgres::LoadSnapshotOn(connection, sink); });
  if (!status.ok()) return status;
  return head;
}

absl::StatusOr<keys::Settings> PostgresKeyStore::ReadSettings() {
  keys::Settings settings;
  const absl::Status status = OnConnection("reading the settings", [&](Connection& connection) {
    settings = postgres::SettingsFrom(connection.Run("read_settings").at(0));
  });
  if (!status.ok()) return status;
  return settings;
}

absl::StatusOr<std::optional<keys::KeyRecord>> PostgresKeyStore::ReadKey(const std::string& organization,
                                                                         const std::string& kid) {
  std::optional<keys::KeyRecord> key;
  const absl::Status status = OnConnection("reading a key", [&](Connection& connection) {
    const pqxx::result result = connection.Run("read_key", postgres::Text(kid), postgres::Text(organization));
    key = result.empty() ? std::nullopt : std::optional(postgres::UsedKeyFrom(result[0]));
  });
  if (!status.ok()) return status;
  return key;
}

absl::StatusOr<std::optional<keys::OrganizationRecord>> PostgresKeyStore::ReadOrganization(const std::string& id) {
  std::optional<keys::OrganizationRecord> organization;
  const absl::Status status = OnConnection("reading an organization", [&](Connection& connection) {
    const pqxx::result result = connection.Run("read_organization", postgres::Text(id));
    organization = result.empty() ? std::nullopt : std::optional(postgres::OrganizationFrom(result[0]));
  });
  if (!status.ok()) return status;
  return organization;
}

absl::StatusOr<std::vector<keys::KeyRecord>> PostgresKeyStore::ListKeys(const KeyQuery& query) {
  std::vector<keys::KeyRecord> keys;
  const absl::Time before = query.before_kid.empty() ? absl::InfiniteFuture() : query.before_created_at;
  const absl::Status status = OnConnection("listing keys", [&](Connection& connection) {
    keys =
        KeysFrom(connection.Run(query.show_deleted ? "list_keys" : "list_live_keys", postgres::Text(query.organization),
                                postgres::TimeText(before), postgres::Text(query.before_kid), query.limit));
  });
  if (!status.ok()) return status;
  return keys;
}

absl::StatusOr<std::vector<keys::OrganizationRecord>> PostgresKeyStore::ListOrganizations(const std::string& after_id,
                                                                                          bool show_deleted,
                                                                                          int limit) {
  std::vector<keys::OrganizationRecord> organizations;
  const absl::Status status = OnConnection("listing organizations", [&](Connection& connection) {
    organizations.clear();
    for (const auto& row : connection.Run("list_organizations", postgres::Text(after_id), show_deleted, limit)) {
      organizations.push_back(postgres::OrganizationFrom(row));
    }
  });
  if (!status.ok()) return status;
  return organizations;
}

absl::StatusOr<std::vector<keys::RoleRecord>> PostgresKeyStore::ListRoles(const std::string& organization,
                                                                          const std::string& after_id, int limit) {
  std::vector<keys::RoleRecord> roles;
  const absl::Status status = OnConnection("listing roles", [&](Connection& connection) {
    roles.clear();
    for (const auto& row :
         connection.Run("list_roles", postgres::Text(organization), postgres::Text(after_id), limit)) {
      roles.push_back(postgres::RoleFrom(row));
    }
  });
  if (!status.ok()) return status;
  return roles;
}

absl::StatusOr<std::vector<keys::StoredSecret>> PostgresKeyStore::ReadSecrets(const std::string& kid) {
  std::vector<keys::StoredSecret> secrets;
  const absl::Status status = OnConnection("reading secrets", [&](Connection& connection) {
    secrets.clear();
    for (const auto& row : connection.Run("read_secrets", postgres::Text(kid))) {
      keys::StoredSecret& secret = secrets.emplace_back();
      secret.version = row[0].as<int32_t>();
      secret.hash = row[1].as<std::string>();
      secret.pepper_id = row[2].as<std::string>();
      if (!row[3].is_null()) secret.proof = postgres::ProofFrom(row[3].c_str(), postgres::ParseBytes(row[4].c_str()));
    }
  });
  if (!status.ok()) return status;
  return secrets;
}

absl::StatusOr<std::map<std::string, std::string>> PostgresKeyStore::SettleKeyRingChecks(
    const std::map<std::string, std::string>& checks) {
  std::vector<std::string> ids;
  std::vector<std::string> values;
  for (const auto& [id, value] : checks) {
    ids.push_back(id);
    values.push_back(postgres::HexText(value));
  }
  std::map<std::string, std::string> stored;
  const absl::Status status = OnConnection("settling key ring checks", [&](Connection& connection) {
    stored.clear();
    connection.Run("put_checks", postgres::ArrayText(ids), postgres::ArrayText(values));
    for (const auto& row : connection.Run("read_checks", postgres::ArrayText(ids))) {
      stored[row[0].as<std::string>()] = postgres::ParseBytes(row[1].c_str());
    }
  });
  if (!status.ok()) return status;
  return stored;
}

}  // namespace latchkey::storage
