#include "tests/contract/contract_fixture.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/keys/change_codec.h"
#include "server/storage/memory/memory_key_store.h"
#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"

namespace latchkey::contract {
namespace {

using ::latchkey::testing::IsOk;

std::unique_ptr<storage::KeyStore> MakeMemory() {
  return std::make_unique<storage::MemoryKeyStore>([] { return absl::Now(); });
}

std::unique_ptr<storage::KeyStore> MakePostgres() {
  const std::string database = latchkey::testing::FreshDatabase();
  EXPECT_THAT(storage::Migrate(database), IsOk());
  // Patient: a case that wants contention makes its own store.
  return storage::PostgresKeyStore::Create({.connection_string = database,
                                            .pool_wait = absl::Seconds(60),
                                            .statement_timeout = absl::Seconds(60),
                                            .lock_timeout = absl::Seconds(30)});
}

keys::Change WithBody(keys::Change change) {
  change.body = keys::EncodeBody(change, keys::Audit{.principal = "bootstrap", .method = "contract"});
  return change;
}

INSTANTIATE_TEST_SUITE_P(Every, KeyStoreContract,
                         ::testing::Values(Implementation{"Memory", MakeMemory},
                                           Implementation{"Postgres", MakePostgres}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace

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
  const absl::StatusOr<std::optional<keys::KeyRecord>> key = store_->ReadKey(kid);
  EXPECT_THAT(key, IsOk());
  if (!key.ok() || !key->has_value()) {
    ADD_FAILURE() << "no key " << kid;
    return {};
  }
  return **key;
}

std::vector<keys::LogRow> KeyStoreContract::Log() {
  absl::StatusOr<storage::LogPage> page = store_->ReadLog(0, 1000000);
  EXPECT_THAT(page, IsOk());
  return page.ok() ? page->rows : std::vector<keys::LogRow>();
}

absl::Time At(int minute) { return absl::FromUnixMicros(1'700'000'000'123'456) + absl::Minutes(minute); }

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
  key.versions = {{1, At(minute), keys::Never()}};
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
  return {version, absl::StrCat("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", version), "p1"};
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
