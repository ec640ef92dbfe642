#include "server/storage/postgres/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "server/storage/postgres/sql_failure.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"

// What is read back of a database that somebody has written into by hand. That everything of ours is read back is in
// the contract's cases.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::FreshDatabase;
using ::latchkey::testing::HasCode;
using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using ::latchkey::testing::RunSql;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Rows, TimesAreReadFromTheFirstToTheLastOfARecords) {
  using storage::postgres::ParseTime;
  using storage::postgres::TimeText;
  EXPECT_EQ(ParseTime("infinity"), absl::InfiniteFuture());
  EXPECT_EQ(ParseTime("-infinity"), absl::InfinitePast());
  EXPECT_EQ(ParseTime("2000-01-01 00:00:00.000001+00"), absl::FromUnixMicros(946'684'800'000'001));
  EXPECT_EQ(TimeText(ParseTime("0001-01-01 00:00:00+00")), "0001-01-01 00:00:00.000000+00");
  EXPECT_EQ(TimeText(ParseTime("9999-12-31 23:59:59.999999+00")), "9999-12-31 23:59:59.999999+00");
}

TEST(Rows, TimesThatNoRecordMayHaveAreRefused) {
  for (const char* text :
       {"10000-01-01 00:00:00+00", "294247-01-10 04:00:54.775808+00", "294276-12-31 23:59:59.999999+00",
        "0001-12-31 23:59:59.999999+00 BC", "0000-12-31 23:59:59.999999+00", "2000-01-01 00:00:00+01", "+00", "",
        "2000-01-01T00:00:00+00", "99999999999999999999-01-01 00:00:00+00", "2000-01-01 00:00:00.a+00"}) {
    EXPECT_THROW(storage::postgres::ParseTime(text), storage::postgres::UnreadableRow) << text;
  }
}

// A store with a key "k", an organization "acme" and a custom role in it, and the database to spoil them in.
struct Spoilt {
  explicit Spoilt(const std::string& statement) {
    EXPECT_THAT(storage::Migrate(database), IsOk());
    const std::vector<keys::Change> changes = {ChangeOf(Organization("acme")), ChangeOf(Role("acme", "r")),
                                               ChangeOf(Key("k"), ProvenSecret(1, 'A'))};
    for (const keys::Change& change : changes) EXPECT_THAT(store->Commit(PlanFor({change}), Always({change})), IsOk());
    RunSql(database, statement);
  }
  const std::string database = FreshDatabase();
  const std::unique_ptr<storage::PostgresKeyStore> store =
      storage::PostgresKeyStore::Create({.connection_string = database});
};

TEST(Rows, AKeyThatCanNotBeReadSaysWhichAndWhyAndQuotesNothing) {
  for (const char* year : {"10000", "294276"}) {
    const Spoilt spoilt(std::string("UPDATE keys SET expires_at = '") + year + "-12-31 23:59:59.999999+00'");
    const absl::Status read = spoilt.store->ReadKey("acme", "k").status();
    EXPECT_THAT(read, HasReason("ROW_UNREADABLE"));
    EXPECT_THAT(read, HasCode(absl::StatusCode::kDataLoss));
    EXPECT_THAT(std::string(read.message()),
                AllOf(HasSubstr("a record of revision 3: expires_at: "), HasSubstr("9999"), Not(HasSubstr("-12-31"))));
    Snapshot snapshot;
    const absl::Status loaded = spoilt.store->LoadSnapshot(snapshot).status();
    EXPECT_THAT(loaded, HasReason("ROW_UNREADABLE"));
    EXPECT_THAT(std::string(loaded.message()), HasSubstr("key k: "));
    EXPECT_THAT(spoilt.store->ListKeys({.organization = "acme", .show_deleted = true, .limit = 10}),
                HasReason("ROW_UNREADABLE"));
    EXPECT_THAT(spoilt.store->Commit({.kids = {"k"}}, Always({})), HasReason("ROW_UNREADABLE"));
    EXPECT_THAT(spoilt.store->ReadOrganization("acme"), IsOk()) << "the session is as good as before";
  }
}

TEST(Rows, EveryKindOfRowSaysThatItCanNotBeRead) {
  const Spoilt version("UPDATE secret_versions SET expires_at = '20000-01-01'");
  EXPECT_THAT(std::string(version.store->ReadKey("acme", "k").status().message()), HasSubstr("revision 3: versions: "));
  const Spoilt labels("UPDATE keys SET labels = '{\"canary\": [1]}'");
  const absl::Status of_labels = labels.store->ReadKey("acme", "k").status();
  EXPECT_THAT(of_labels, HasReason("ROW_UNREADABLE"));
  EXPECT_THAT(std::string(of_labels.message()), AllOf(HasSubstr("labels: "), Not(HasSubstr("canary"))));
  const Spoilt organization("UPDATE organizations SET updated_at = '20000-01-01'");
  EXPECT_THAT(std::string(organization.store->ReadOrganization("acme").status().message()),
              HasSubstr("revision 1: updated_at: "));
  const Spoilt role("UPDATE roles SET created_at = '0044-03-15 BC'");
  EXPECT_THAT(std::string(role.store->ListRoles("acme", "", 10).status().message()),
              HasSubstr("revision 2: created_at: "));
  const Spoilt use("INSERT INTO key_use (kid, version, last_used_at) VALUES ('k', 1, '20000-01-01')");
  EXPECT_THAT(std::string(use.store->ReadKey("acme", "k").status().message()), HasSubstr("uses of key k: "));
  const Spoilt settings("UPDATE settings SET changed_at = '20000-01-01'");
  EXPECT_THAT(std::string(settings.store->ReadSettings().status().message()), HasSubstr("settings: changed_at: "));
  const Spoilt row(
      "ALTER TABLE change_log DISABLE TRIGGER USER; UPDATE change_log SET at = '20000-01-01' WHERE rev = 2");
  const absl::Status read = row.store->ReadLog(0, 10).status();
  EXPECT_THAT(read, HasReason("ROW_UNREADABLE"));
  EXPECT_THAT(std::string(read.message()), HasSubstr("change-log row 2: "));
}

}  // namespace
}  // namespace latchkey::contract
