#include "tests/storage/contract_fixture.h"

#include <algorithm>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/model/change_codec.h"
#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/support/memory_store/memory_key_store.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"

namespace latchkey::contract {
namespace {

using ::latchkey::testing::IsOk;
using ::latchkey::testing::RunSql;

// What a case can't ask a store, by the store.
std::map<const storage::KeyStore*, std::string>& Databases() {
  static auto* const databases = new std::map<const storage::KeyStore*, std::string>();
  return *databases;
}
std::map<const storage::KeyStore*, std::shared_ptr<absl::Duration>>& ClockOffsets() {
  static auto* const offsets = new std::map<const storage::KeyStore*, std::shared_ptr<absl::Duration>>();
  return *offsets;
}

std::unique_ptr<storage::KeyStore> MakeMemory() {
  auto offset = std::make_shared<absl::Duration>();
  auto store = std::make_unique<storage::MemoryKeyStore>([offset] { return absl::Now() + *offset; });
  ClockOffsets()[store.get()] = offset;
  return store;
}

int64_t UseCountInMemory(const storage::KeyStore& store, const storage::Use& use) {
  return dynamic_cast<const storage::MemoryKeyStore&>(store).UseCount(use.kid, use.version, use.hour, use.decision);
}

void AgeMemory(const storage::KeyStore& store, absl::Duration by) { *ClockOffsets().at(&store) += by; }

std::unique_ptr<storage::KeyStore> MakePostgres() {
  const std::string database = latchkey::testing::FreshDatabase();
  EXPECT_THAT(storage::Migrate(database), IsOk());
  // Patient: a case that wants contention makes its own store.
  auto store = storage::PostgresKeyStore::Create({.connection_string = database,
                                                  .pool_wait = absl::Seconds(60),
                                                  .statement_timeout = absl::Seconds(60),
                                                  .lock_timeout = absl::Seconds(30)});
  Databases()[store.get()] = database;
  return store;
}

int64_t UseCountInPostgres(const storage::KeyStore& store, const storage::Use& use) {
  const std::string count =
      RunSql(Databases().at(&store),
             absl::StrCat("SELECT coalesce(sum(count), 0) FROM key_use_hours WHERE kid = '", use.kid,
                          "' AND version = ", use.version, " AND hour = '",
                          absl::FormatTime(use.hour, absl::UTCTimeZone()), "' AND decision = ", use.decision));
  int64_t value = -1;
  EXPECT_TRUE(absl::SimpleAtoi(count, &value));
  return value;
}

void AgePostgres(const storage::KeyStore& store, absl::Duration by) {
  const std::string interval = absl::StrCat("interval '", absl::ToInt64Seconds(by), " s'");
  RunSql(Databases().at(&store), "UPDATE replica_lease SET seen_at = seen_at - " + interval);
  RunSql(Databases().at(&store), "UPDATE use_reports SET at = at - " + interval);
}

void SetLevelInMemory(storage::KeyStore& store, int level) {
  dynamic_cast<storage::MemoryKeyStore&>(store).SetLevel(level);
}

void SetLevelInPostgres(storage::KeyStore& store, int level) {
  // A replica's session fires no triggers.
  RunSql(Databases().at(&store),
         absl::StrCat("SET session_replication_role = replica; UPDATE settings SET level = ", level));
}

void EnterReleaseZeroInMemory(storage::KeyStore& store, const std::string& replica) {
  dynamic_cast<storage::MemoryKeyStore&>(store).EnterReplicaOfLevels(replica, 1, 2);
}

void EnterReleaseZeroInPostgres(storage::KeyStore& store, const std::string& replica) {
  RunSql(Databases().at(&store),
         absl::StrCat("INSERT INTO replica_lease (replica, doorbell, oldest_level, newest_level) VALUES ('", replica,
                      "', '', 1, 2)"));
}

keys::Change WithBody(keys::Change change) {
  change.body = keys::EncodeBody(change, keys::Audit{.principal = "bootstrap", .method = "contract"});
  return change;
}

INSTANTIATE_TEST_SUITE_P(Every, KeyStoreContract, ::testing::ValuesIn(Implementations()), NameOf);

}  // namespace

std::vector<Implementation> Implementations() {
  return {{"Memory", MakeMemory, UseCountInMemory, AgeMemory, SetLevelInMemory, EnterReleaseZeroInMemory},
          {"Postgres", MakePostgres, UseCountInPostgres, AgePostgres, SetLevelInPostgres, EnterReleaseZeroInPostgres}};
}

void KeyStoreContract::SetUp() {
  store_ = GetParam().make();
  Put({ChangeOf(Organization("acme"))});
}

std::vector<keys::LogRow> KeyStoreContract::Put(const std::vector<keys::Change>& changes) {
  const absl::StatusOr<storage::Committed> committed = store_->Commit(PlanFor(changes), Always(changes));
  EXPECT_THAT(committed, IsOk());
  return committed.ok() ? committed->rows : std::vector<keys::LogRow>();
}

storage::LockedState KeyStoreContract::Look(const storage::LockPlan& plan) {
  storage::LockedState seen;
  EXPECT_THAT(store_->Commit(plan,
                             [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
                               seen = state;
                               return storage::Mutation();
                             }),
              IsOk());
  return seen;
}

keys::KeyRecord KeyStoreContract::Stored(const std::string& kid) {
  const absl::StatusOr<std::optional<keys::KeyRecord>> key = store_->ReadKey("acme", kid);
  EXPECT_THAT(key, IsOk());
  if (!key.ok() || !key->has_value()) {
    ADD_FAILURE() << "no key " << kid;
    return {};
  }
  return **key;
}

void Snapshot::Begin(const keys::LogPosition& at, int64_t count) {
  *this = {};
  ++begun;
  position = at;
  key_count = count;
}

void Snapshot::Add(const storage::SnapshotKey& key) {
  ShownKey& shown = keys.emplace_back();
  shown.organization = key.organization;
  shown.kid = key.kid;
  shown.display_name = key.display_name;
  shown.role = key.role;
  shown.owner = key.owner;
  shown.labels.assign(key.labels.begin(), key.labels.end());
  shown.allowed_cidrs.assign(key.allowed_cidrs.begin(), key.allowed_cidrs.end());
  shown.expires_at = key.expires_at;
  shown.purge_at = key.purge_at;
  shown.deleted = key.deleted;
  for (const storage::SnapshotVersion& version : key.versions) {
    shown.versions.push_back({version.id, version.expires_at, version.proof});
  }
}

ShownKey ShownOf(const keys::KeyRecord& key) {
  ShownKey shown;
  shown.organization = key.organization;
  shown.kid = key.kid;
  shown.display_name = key.display_name;
  shown.role = key.role;
  shown.owner = key.owner;
  shown.labels.assign(key.labels.begin(), key.labels.end());
  shown.allowed_cidrs = key.allowed_cidrs;
  shown.expires_at = key.expires_at;
  shown.purge_at = key.purge_at;
  shown.deleted = key.deleted();
  for (const keys::SecretVersion& version : key.versions) {
    shown.versions.push_back({version.id, version.expires_at, {}});
  }
  return shown;
}

Snapshot KeyStoreContract::TakeSnapshot() {
  Snapshot snapshot;
  absl::StatusOr<storage::SnapshotHead> head = store_->LoadSnapshot(snapshot);
  EXPECT_THAT(head, IsOk());
  if (head.ok()) snapshot.head = *head;
  return snapshot;
}

std::vector<keys::LogRow> KeyStoreContract::Log() {
  absl::StatusOr<storage::LogPage> page = store_->ReadLog(0, 1000000);
  EXPECT_THAT(page, IsOk());
  return page.ok() ? page->rows : std::vector<keys::LogRow>();
}

absl::Time At(int minute) { return absl::FromUnixMicros(1'700'000'000'123'456) + absl::Minutes(minute); }

keys::SecretVersion Version(int32_t id, absl::Time created_at, absl::Time expires_at) {
  keys::SecretVersion version;
  version.id = id;
  version.created_at = created_at;
  version.expires_at = expires_at;
  return version;
}

keys::KeyRecord Key(const std::string& kid, const std::string& organization, int minute) {
  keys::KeyRecord key;
  key.organization = organization;
  key.kid = kid;
  key.display_name = "Zürich \"prod\" \\ 東京 {a,b}";
  key.description = "line 'one'\nline two";
  key.role = "editor";
  key.owner = "ops@acme.example";
  key.labels = {{"env", "prod"}, {"quote", "\"\\ü"}, {"empty", ""}};
  key.key_hint = "lk1_abcd";
  key.creator = "organizations/acme/keys/creator";
  key.creator_kid = "creator";
  key.created_at = At(minute);
  key.updated_at = At(minute) + absl::Microseconds(1);
  key.expires_at = At(minute) + absl::Hours(24 * 365);
  key.allowed_cidrs = {"10.0.0.0/8", "2001:db8::/32"};
  key.versions = {Version(1, At(minute))};
  return key;
}

keys::KeyRecord FilledKey(const std::string& kid) {
  keys::KeyRecord key = Filled<keys::KeyRecord>();
  key.organization = "acme";
  key.kid = kid;
  return key;
}

keys::OrganizationRecord Organization(const std::string& id) {
  return {.id = id, .display_name = absl::StrCat("The ", id), .created_at = At(0), .updated_at = At(1)};
}

keys::RoleRecord Role(const std::string& organization, const std::string& id) {
  return {.organization = organization,
          .id = id,
          .display_name = "Reader",
          .description = "reads",
          .documentation_uri = "https://example.com/reader",
          .permissions = {"a.b", "odd\"\\,{}"},
          .created_at = At(0),
          .updated_at = At(1)};
}

keys::NewSecret Secret(int32_t version) {
  keys::NewSecret secret;
  secret.version = version;
  secret.hash = absl::StrCat("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", version);
  secret.pepper_id = "p1";
  return secret;
}

keys::Proof ProofOf(int32_t version, char generation) {
  keys::Proof proof;
  proof.ring_id = generation;
  for (size_t i = 0; i < proof.digest.size(); ++i) proof.digest[i] = static_cast<char>(i * 16);  // Zero and high bits.
  proof.digest[1] = static_cast<char>(version);
  proof.digest[2] = generation;
  return proof;
}

keys::NewSecret ProvenSecret(int32_t version, char generation) {
  keys::NewSecret secret = Secret(version);
  secret.proof = ProofOf(version, generation);
  return secret;
}

keys::Change ChangeOf(const keys::KeyRecord& key) {
  keys::Change change;
  change.key = key;
  return WithBody(std::move(change));
}

keys::Change ChangeOf(const keys::KeyRecord& key, const keys::NewSecret& secret) {
  keys::Change change = ChangeOf(key);
  change.new_secret = secret;
  return change;
}

keys::Change ChangeOf(const keys::OrganizationRecord& organization) {
  keys::Change change;
  change.organization = organization;
  return WithBody(std::move(change));
}

keys::Change ChangeOf(const keys::RoleRecord& role) {
  keys::Change change;
  change.role = role;
  return WithBody(std::move(change));
}

keys::Change ChangeOf(const keys::Settings& settings) {
  keys::Change change;
  change.settings = settings;
  return WithBody(std::move(change));
}

storage::LockPlan PlanFor(const std::vector<keys::Change>& changes) {
  storage::LockPlan plan;
  for (const keys::Change& change : changes) {
    if (change.key) plan.kids.push_back(change.key->kid);
    if (change.role) plan.roles.emplace_back(change.role->organization, change.role->id);
    if (change.organization) plan.organization = change.organization->id;
  }
  plan.lock_organization = !plan.organization.empty();
  return plan;
}

std::string Flaw(const std::vector<keys::LogRow>& log) {
  if (log.empty() || log[0].rev != 0) return "the log does not start at revision 0";
  for (size_t i = 1; i < log.size(); ++i) {
    if (log[i].rev != log[i - 1].rev + 1) return absl::StrCat("a gap after ", log[i - 1].rev);
    if (log[i].chain != keys::ChainOf(log[i - 1].chain, log[i].rev, log[i].at, log[i].body)) {
      return absl::StrCat("a wrong chain at ", log[i].rev);
    }
  }
  return "";
}

}  // namespace latchkey::contract
