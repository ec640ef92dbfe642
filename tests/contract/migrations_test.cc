#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/contract/contract_fixture.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"

namespace latchkey::contract {
namespace {

using ::latchkey::testing::FreshDatabase;
using ::latchkey::testing::HasCode;
using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using ::latchkey::testing::RunSql;

// The SQLSTATE that a statement fails with; "" if it succeeds.
std::string SqlState(const std::string& database, const std::string& statement) {
  PGconn* connection = PQconnectdb(database.c_str());
  PGresult* result = PQexec(connection, statement.c_str());
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  std::string text = state == nullptr ? "" : state;
  PQclear(result);
  PQfinish(connection);
  return text;
}

std::string Steps(const std::string& database) {
  return RunSql(database, "SELECT string_agg(version::text, ',' ORDER BY version) FROM schema_migrations");
}

std::string AllSteps() {
  std::string steps = "1";
  for (int version = 2; version <= storage::NewestSchemaVersion(); ++version) absl::StrAppend(&steps, ",", version);
  return steps;
}

TEST(Migrations, BringAnEmptyDatabaseToTheNewestVersion) {
  const std::string database = FreshDatabase();
  EXPECT_EQ(storage::SchemaVersion(database).value(), 0);
  EXPECT_THAT(storage::Migrate(database), IsOk());
  EXPECT_EQ(storage::SchemaVersion(database).value(), storage::NewestSchemaVersion());
  EXPECT_EQ(Steps(database), AllSteps());
}

TEST(Migrations, ChangeNothingTheSecondTime) {
  const std::string database = FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  const std::string identity = RunSql(database, "SELECT chain FROM change_log WHERE rev = 0");
  EXPECT_THAT(storage::Migrate(database), IsOk());
  EXPECT_EQ(RunSql(database, "SELECT chain FROM change_log WHERE rev = 0"), identity);
  EXPECT_EQ(Steps(database), AllSteps());
}

TEST(Migrations, MayRunInSeveralReplicasAtOnce) {
  const std::string database = FreshDatabase();
  std::vector<std::thread> replicas;
  for (int i = 0; i < 4; ++i) {
    replicas.emplace_back([&] { EXPECT_THAT(storage::Migrate(database), IsOk()); });
  }
  for (std::thread& replica : replicas) replica.join();
  EXPECT_EQ(Steps(database), AllSteps());
  EXPECT_EQ(RunSql(database, "SELECT count(*) FROM change_log"), "1");
}

TEST(Migrations, RefuseADatabaseThatIsNewerThanThisBuild) {
  const std::string database = FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  RunSql(database,
         absl::StrCat("INSERT INTO schema_migrations (version) VALUES (", storage::NewestSchemaVersion() + 1, ")"));
  const absl::Status status = storage::Migrate(database);
  EXPECT_THAT(status, HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("newer"));
}

TEST(Migrations, SayThatTheDatabaseIsAway) {
  const std::string nowhere = "host=/nonexistent dbname=latchkey";
  EXPECT_THAT(storage::Migrate(nowhere), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(storage::SchemaVersion(nowhere), HasReason("DATABASE_UNAVAILABLE"));
}

TEST(Schema, ChangeLogRefusesToBeRewritten) {
  const std::string database = FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  constexpr char kInsufficientPrivilege[] = "42501";
  EXPECT_EQ(SqlState(database, "UPDATE change_log SET body = 'x'"), kInsufficientPrivilege);
  EXPECT_EQ(SqlState(database, "DELETE FROM change_log"), kInsufficientPrivilege);
  EXPECT_EQ(SqlState(database, "TRUNCATE change_log"), kInsufficientPrivilege);
  EXPECT_EQ(RunSql(database, "SELECT count(*) FROM change_log WHERE body = ''"), "1");
}

TEST(Schema, OwnerEverSurvivesAPurge) {
  const std::string database = FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  const auto store = storage::PostgresKeyStore::Create({.connection_string = database});
  keys::KeyRecord owner = Key("o", "system");
  owner.role = "owner";
  ASSERT_THAT(store->Commit({}, Always({ChangeOf(owner)})), IsOk());
  RunSql(database, "DELETE FROM keys");
  bool owner_ever = false;
  ASSERT_THAT(store->Commit({},
                            [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
                              owner_ever = state.owner_ever;
                              return storage::Mutation();
                            }),
              IsOk());
  EXPECT_TRUE(owner_ever);
}

}  // namespace
}  // namespace latchkey::contract
