#include "tests/faults/history.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/core/permissions.h"
#include "server/model/built_in_roles.h"
#include "server/model/change_codec.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/support/postgres_environment.h"

namespace latchkey::faults {
namespace {

std::unique_ptr<storage::KeyStore> Open(const std::string& database) {
  return storage::PostgresKeyStore::Create({.connection_string = database, .pool_size = 1});
}

// Every key of the snapshot, as ReadKey shows it.
class KeyIds final : public storage::SnapshotSink {
 public:
  void Begin(const keys::LogPosition&, int64_t) override { kids.clear(); }
  void Add(const keys::OrganizationRecord&) override {}
  void Add(const keys::RoleRecord&) override {}
  void Add(const storage::SnapshotKey& key) override { kids.emplace_back(key.organization, key.kid); }
  std::vector<std::pair<std::string, std::string>> kids;  // With their organizations.
};

std::optional<std::vector<keys::KeyRecord>> KeysIn(const std::string& database) {
  const std::unique_ptr<storage::KeyStore> store = Open(database);
  KeyIds ids;
  const absl::StatusOr<storage::SnapshotHead> head = store->LoadSnapshot(ids);
  EXPECT_TRUE(head.ok()) << head.status();
  if (!head.ok()) return std::nullopt;
  std::vector<keys::KeyRecord> records;
  for (const auto& [organization, kid] : ids.kids) {
    absl::StatusOr<std::optional<keys::KeyRecord>> key = store->ReadKey(organization, kid);
    EXPECT_TRUE(key.ok() && key->has_value()) << kid;
    if (!key.ok() || !key->has_value()) return std::nullopt;
    // Usage is no part of the log.
    (*key)->last_used_at = absl::InfinitePast();
    for (keys::SecretVersion& version : (*key)->versions) version.last_used_at = absl::InfinitePast();
    records.push_back(**std::move(key));
  }
  return records;
}

bool AboveCreator(const keys::KeyRecord& key, const keys::KeyRecord& creator) {
  const keys::RoleRecord* const held = keys::FindBuiltInRole(key.role);
  const keys::RoleRecord* const ceiling = keys::FindBuiltInRole(creator.role);
  const bool within = held != nullptr && ceiling != nullptr && core::AtMost(held->permissions, ceiling->permissions);
  return !within || key.expires_at > creator.expires_at;
}

// The keys as the log told of them so far, by kid.
using Told = std::map<std::string, keys::KeyRecord>;

// What is wrong with the step from `told` to `next`: a key that was minted by a dead one, or one above its creator.
std::string FlawOfStep(const Told& told, const keys::KeyRecord& next) {
  const auto creator = told.find(next.creator_kid);
  if (creator != told.end() && told.count(next.kid) == 0 && creator->second.deleted()) return "minted by a dead key";
  if (next.deleted()) return "";
  if (creator != told.end() && !creator->second.deleted() && AboveCreator(next, creator->second)) {
    return "above its creator";
  }
  const auto before = told.find(next.kid);
  if (before == told.end() || before->second.role == next.role) return "";
  for (const auto& [kid, child] : told) {
    if (child.creator_kid == next.kid && !child.deleted() && AboveCreator(child, next)) return "below its child";
  }
  return "";
}

std::string Number(const std::string& database, const std::string& sql) { return testing::RunSql(database, sql); }

}  // namespace

std::string FlawOfHistory(const std::string& database) {
  const absl::StatusOr<storage::LogPage> log = Open(database)->ReadLog(0, 10'000'000);
  if (!log.ok()) return absl::StrCat("the log can't be read: ", std::string(log.status().message()));
  if (log->rows.empty() || log->rows[0].rev != 0) return "the log does not start at revision 0";
  Told told;
  for (size_t i = 1; i < log->rows.size(); ++i) {
    const keys::LogRow& last = log->rows[i - 1];
    const keys::LogRow& row = log->rows[i];
    if (row.rev != last.rev + 1) return absl::StrCat("a gap after revision ", last.rev);
    if (row.chain != keys::ChainOf(last.chain, row.rev, row.at, row.body)) {
      return absl::StrCat("a wrong chain at revision ", row.rev);
    }
    const absl::StatusOr<keys::Change> change = keys::DecodeBody(row);
    if (!change.ok()) return absl::StrCat("revision ", row.rev, " can't be read");
    if (!change->key) continue;
    if (const std::string flaw = FlawOfStep(told, *change->key); !flaw.empty()) {
      return absl::StrCat("at revision ", row.rev, " a key is ", flaw);
    }
    told[change->key->kid] = *change->key;
  }
  if (Number(database,
             "SELECT count(*) FROM log_head h JOIN change_log c ON c.rev = h.rev AND c.chain = h.chain "
             "WHERE c.rev = (SELECT max(rev) FROM change_log)") != "1") {
    return "the log head is not the log's last row";
  }
  const std::optional<std::vector<keys::KeyRecord>> stored = KeysIn(database);
  if (!stored) return "no snapshot";
  if (stored->size() != told.size()) {
    return absl::StrCat("the tables hold ", stored->size(), " keys, the log tells of ", told.size());
  }
  for (const keys::KeyRecord& key : *stored) {
    const auto found = told.find(key.kid);
    if (found == told.end() || !(found->second == key)) return absl::StrCat("log and tables differ about ", key.kid);
  }
  return "";
}

std::string FlawOfRequests(const std::string& database) {
  const std::pair<const char*, const char*> flaws[] = {
      {"keys without a hash",
       "SELECT count(*) FROM keys k WHERE NOT EXISTS (SELECT 1 FROM secret_versions s WHERE s.kid = k.kid AND s.hash "
       "IS "
       "NOT NULL)"},
      {"hashes without a key",
       "SELECT count(*) FROM secret_versions s WHERE NOT EXISTS (SELECT 1 FROM keys k WHERE k.kid = s.kid)"},
      {"request ids without their key",
       "SELECT count(*) FROM request_ids r WHERE NOT EXISTS (SELECT 1 FROM keys k WHERE k.display_name = r.request_id "
       "AND 'organizations/' || k.organization || '/keys/' || k.kid = r.name)"},
      {"request ids with several keys",
       "SELECT count(*) FROM request_ids r WHERE (SELECT count(*) FROM keys k WHERE k.display_name = r.request_id) > "
       "1"},
      {"keys without their request id",
       "SELECT count(*) FROM keys k WHERE k.display_name LIKE '________-____-4000-8000-%' AND NOT EXISTS (SELECT 1 "
       "FROM request_ids r "
       "WHERE r.request_id = k.display_name)"}};
  for (const auto& [what, sql] : flaws) {
    if (const std::string count = Number(database, sql); count != "0") return absl::StrCat(count, " ", what);
  }
  return "";
}

int KeysAboveTheirCreator(const std::string& database) {
  const std::optional<std::vector<keys::KeyRecord>> stored = KeysIn(database);
  if (!stored) return -1;
  std::map<std::string, const keys::KeyRecord*> live;
  for (const keys::KeyRecord& key : *stored) {
    if (!key.deleted()) live[key.kid] = &key;
  }
  int above = 0;
  for (const auto& [kid, key] : live) {
    const auto creator = live.find(key->creator_kid);
    if (creator == live.end()) continue;
    if (AboveCreator(*key, *creator->second)) ++above;
  }
  return above;
}

}  // namespace latchkey::faults
