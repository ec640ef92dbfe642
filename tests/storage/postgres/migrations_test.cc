#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "server/storage/postgres/schema.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace latchkey::contract {
namespace {

using ::latchkey::testing::FreshDatabase;
using ::latchkey::testing::HasCode;
using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsError;
using ::latchkey::testing::IsOk;
using ::latchkey::testing::RunSql;
using ::testing::HasSubstr;
using ::testing::Not;

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

std::string Expansions(const std::string& database) {
  return RunSql(database, "SELECT string_agg(version::text, ',' ORDER BY version) FROM schema_expansions");
}

std::string AllSteps() {
  std::string steps = "1";
  for (int version = 2; version <= storage::NewestSchemaVersion(); ++version) absl::StrAppend(&steps, ",", version);
  return steps;
}

TEST(Migrations, BringAnEmptyDatabaseToTheNewestVersion) {
  const std::string database = FreshDatabase();
  const storage::SchemaState empty = storage::ReadSchemaState(database).value();
  EXPECT_EQ(empty.expanded, 0);
  EXPECT_THAT(storage::CheckSchemaState(empty), HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(storage::Migrate(database), IsOk());
  const storage::SchemaState state = storage::ReadSchemaState(database).value();
  EXPECT_EQ(state.expanded, storage::NewestSchemaVersion());
  EXPECT_EQ(state.required, storage::NewestSchemaVersion());
  EXPECT_EQ(state.level, keys::kNewestLevel);
  EXPECT_THAT(storage::CheckSchemaState(state), IsOk());
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
  EXPECT_THAT(std::string(status.message()), HasSubstr("newer"));
}

// As release 0 leaves one.
std::string DatabaseOfReleaseZero() {
  std::string database = FreshDatabase();
  RunSql(database,
         "CREATE TABLE schema_migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL "
         "DEFAULT clock_timestamp())");
  for (int version = 1; version <= 2; ++version) {
    RunSql(database, storage::postgres::SchemaSteps().at(version - 1).expand);
    RunSql(database, absl::StrCat("INSERT INTO schema_migrations (version) VALUES (", version, ")"));
  }
  return database;
}

TEST(Migrations, OnlyExpandWhatAnOlderReleaseMade) {
  const std::string database = DatabaseOfReleaseZero();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  EXPECT_EQ(Steps(database), "1,2") << "the older one must find what it left";
  EXPECT_EQ(Expansions(database), "3,4,5,6,7,8");
  const storage::SchemaState state = storage::ReadSchemaState(database).value();
  EXPECT_EQ(state.level, keys::kReleaseZeroLevel);
  EXPECT_THAT(storage::CheckSchemaState(state), IsOk());
  // A server of release 0 enters as it always did.
  RunSql(database, "INSERT INTO replica_lease (replica, doorbell) VALUES ('old', '')");
  EXPECT_EQ(RunSql(database, "SELECT oldest_level || '-' || newest_level FROM replica_lease"), "1-2");
  // There is nothing to contract at this level.
  EXPECT_THAT(storage::ContractSchema(database), IsOk());
  EXPECT_EQ(Steps(database), "1,2");
  RunSql(database, "INSERT INTO replica_lease (replica, doorbell) VALUES ('another', '')");
}

TEST(Migrations, ContractOnceTheLevelIsRaised) {
  const std::string database = DatabaseOfReleaseZero();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  RunSql(database, absl::StrCat("UPDATE settings SET level = ", keys::kNewestLevel));
  EXPECT_EQ(Steps(database), AllSteps()) << "older servers must not start from this moment on";
  EXPECT_FALSE(storage::ReadSchemaState(database)->contracted);
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(storage::ContractSchema(database), IsOk());
    EXPECT_TRUE(storage::ReadSchemaState(database)->contracted);
    EXPECT_EQ(Steps(database), AllSteps());
  }
  constexpr char kNotNull[] = "23502";
  constexpr char kNotInPrerequisiteState[] = "55000";
  EXPECT_EQ(SqlState(database, "INSERT INTO replica_lease (replica, doorbell) VALUES ('old', '')"), kNotNull);
  EXPECT_EQ(SqlState(database,
                     "INSERT INTO replica_lease (replica, doorbell, oldest_level, newest_level) VALUES ('old', '', 1, "
                     "2)"),
            kNotInPrerequisiteState);
  EXPECT_THAT(storage::Migrate(database), IsOk());
}

TEST(Migrations, ADatabaseThatANewerReleaseOnlyExpandedIsServed) {
  const std::string database = FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  RunSql(database, absl::StrCat("INSERT INTO schema_expansions (version, level) VALUES (",
                                storage::NewestSchemaVersion() + 1, ", ", keys::kNewestLevel + 1, ")"));
  EXPECT_THAT(storage::Migrate(database), IsOk());
  EXPECT_THAT(storage::CheckSchemaState(storage::ReadSchemaState(database).value()), IsOk());
}

TEST(Migrations, RefuseAFeatureLevelThatThisBuildDoesNotRead) {
  for (const int level : {keys::kOldestLevel - 1, keys::kNewestLevel + 1}) {
    const std::string database = FreshDatabase();
    ASSERT_THAT(storage::Migrate(database), IsOk());
    RunSql(database, absl::StrCat("SET session_replication_role = replica; UPDATE settings SET level = ", level));
    EXPECT_THAT(storage::Migrate(database), HasReason("LEVEL_UNREADABLE"));
    EXPECT_THAT(storage::CheckSchemaState(storage::ReadSchemaState(database).value()), HasReason("LEVEL_UNREADABLE"));
  }
}

TEST(Migrations, LetServersRenewWhileAnotherSessionHoldsTheTables) {
  const std::string database = DatabaseOfReleaseZero();
  RunSql(database, "INSERT INTO replica_lease (replica, doorbell) VALUES ('old', '')");
  std::thread dump(
      [&] { RunSql(database, "BEGIN; SELECT FROM settings; SELECT FROM replica_lease; SELECT pg_sleep(3); COMMIT"); });
  while (RunSql(database, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0") {
    absl::SleepFor(absl::Milliseconds(5));
  }
  std::atomic<bool> migrated = false;
  std::thread migration([&] {
    EXPECT_THAT(storage::Migrate(database), IsOk());
    migrated = true;
  });
  int renewals = 0;
  for (; !migrated; ++renewals) {
    // As a renewal does, with a server's patience.
    RunSql(database,
           "SET lock_timeout = '500ms'; UPDATE replica_lease SET beat = beat + 1; SELECT bound_us FROM settings");
    absl::SleepFor(absl::Milliseconds(20));
  }
  migration.join();
  dump.join();
  EXPECT_GT(renewals, 20);
  EXPECT_EQ(Expansions(database), "3,4,5,6,7,8");
}

TEST(Schema, OfAReplicaAndALevelThatItCannotReadTheLaterFails) {
  // Whichever comes first holds the other up until it is committed, and is then seen by it.
  for (const bool replica_first : {true, false}) {
    const std::string database = DatabaseOfReleaseZero();
    ASSERT_THAT(storage::Migrate(database), IsOk());
    const std::string enter = "INSERT INTO replica_lease (replica, doorbell) VALUES ('old', '')";
    const std::string raise = "UPDATE settings SET level = 3";
    std::thread first([&] {
      RunSql(database, absl::StrCat("BEGIN; ", replica_first ? enter : raise, "; SELECT pg_sleep(0.5); COMMIT"));
    });
    while (RunSql(database, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0") {
      absl::SleepFor(absl::Milliseconds(5));
    }
    EXPECT_EQ(SqlState(database, replica_first ? raise : enter), replica_first ? "40001" : "55000");
    first.join();
  }
}

TEST(Migrations, SayThatTheDatabaseIsAway) {
  const std::string nowhere = "host=/nonexistent dbname=latchkey";
  EXPECT_THAT(storage::Migrate(nowhere), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(storage::ReadSchemaState(nowhere), HasReason("DATABASE_UNAVAILABLE"));
}

// What both say of a database that is none.
std::string Unavailable(const std::string& database) {
  const absl::Status status = storage::Migrate(database);
  EXPECT_THAT(status, IsError(absl::StatusCode::kUnavailable, "DATABASE_UNAVAILABLE"));
  EXPECT_EQ(storage::ReadSchemaState(database).status(), status);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("\n")));
  EXPECT_THAT(status.ToString(), Not(HasSubstr("canary")));
  return std::string(status.message());
}

std::string FailedPrecondition(const std::string& database) {
  const absl::Status status = storage::Migrate(database);
  EXPECT_THAT(status, HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(status.ToString(), Not(HasSubstr("canary")));
  return std::string(status.message());
}

TEST(Migrations, SayWhyAConnectionStringCannotBeParsed) {
  const std::pair<const char*, const char*> strings[] = {
      {"postgresql://latchkey:canary@localhost/latchkey?hst=x", "invalid URI query parameter: \"...\""},
      {"canary here", "missing \"=\" after \"...\""},
      {"postgres:/latchkey:canary@localhost/latchkey", "missing \"=\" after \"...\""},
      {"password=my canary=x host=localhost", "invalid connection option \"...\""},
      {"password='canary", "unterminated quoted string"},
      {"postgresql://latchkey:%zzcanary@localhost", "invalid percent-encoded token: \"...\""},
      {"postgresql://localhost/x?canary", "\"=\" in URI query parameter: \"...\""},
      {"postgresql://[can\"ary", "\"]\" in IPv6 host address in URI: \"...\""},
      {"postgresql://x:can\nary%zz@localhost", "invalid percent-encoded token: \"...\""}};
  for (const auto& [connection_string, reason] : strings) {
    const std::string message = FailedPrecondition(connection_string);
    EXPECT_THAT(message, HasSubstr("connection string can't be parsed"));
    EXPECT_THAT(message, HasSubstr(reason));
    EXPECT_THAT(message, Not(HasSubstr("ary")));
    EXPECT_EQ(storage::CheckConnectionString(connection_string).message(), message);
    EXPECT_EQ(storage::ReadSchemaState(connection_string).status().message(), message);
  }
  for (const char* good : {"", "host=localhost password=canary", "postgresql://latchkey:canary@localhost/latchkey"}) {
    EXPECT_THAT(storage::CheckConnectionString(good), IsOk());
  }
}

TEST(Migrations, SayWhyTheDatabaseCannotBeReached) {
  EXPECT_THAT(Unavailable("host=/nonexistent dbname=latchkey password=canary"),
              HasSubstr("\"/nonexistent/.s.PGSQL.5432\" failed: No such file or directory"));
  EXPECT_THAT(Unavailable(FreshDatabase() + " dbname=missing password=canary"),
              HasSubstr("database \"missing\" does not exist"));
  EXPECT_THAT(Unavailable(FreshDatabase() + " user=stranger"), HasSubstr("failed for user \"stranger\""));
}

TEST(Migrations, ShowNoPasswordThatLibpqTakesForSomethingElse) {
  for (const char* connection_string :
       {"postgresql://latchkey:my@canary@localhost/latchkey", "postgresql://latchkey:1/canary@localhost/latchkey"}) {
    EXPECT_THAT(Unavailable(connection_string), HasSubstr("percent-encoded?"));
  }
  EXPECT_THAT(Unavailable("postgresql://latchkey:canary"),
              HasSubstr("invalid integer value \"...\" for connection option \"port\""));
  EXPECT_THAT(Unavailable("host=/nonexistent sslmode=canary"), HasSubstr("invalid sslmode value: \"...\""));
}

TEST(Migrations, SayThatThePasswordIsWrong) {
  const latchkey::testing::TempDirectory directory;
  const auto postgres = latchkey::testing::StartPostgres(directory.Child("postgres"));
  const std::string database = postgres->ConnectionString();
  RunSql(database, "CREATE ROLE app LOGIN PASSWORD 'right'");
  const std::string hba = directory.Child("postgres") + "/pg_hba.conf";
  std::stringstream rules;
  rules << "local all app scram-sha-256\n" << std::ifstream(hba).rdbuf();
  std::ofstream(hba) << rules.str();
  RunSql(database, "SELECT pg_reload_conf()");
  // Until the postmaster has read them it says that peer authentication failed.
  for (int i = 0; i < 1000 && !storage::ReadSchemaState(database + " user=app password=right").ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_THAT(Unavailable(database + " user=app password=canary"),
              HasSubstr("password authentication failed for user \"app\""));
}

TEST(Migrations, SayThatTheRoleMayNotCreateTables) {
  const std::string database = FreshDatabase();
  // Every PostgreSQL has this role.
  const std::string as_guest = database + " options='-c role=pg_monitor'";
  constexpr char kText[] = "the database role may not create tables in schema public: make it the database's owner";
  EXPECT_EQ(FailedPrecondition(as_guest), kText);
  RunSql(database, "REVOKE ALL ON SCHEMA public FROM public");
  EXPECT_EQ(FailedPrecondition(as_guest), kText);
  RunSql(database, "GRANT ALL ON SCHEMA public TO public");
  ASSERT_THAT(storage::Migrate(database), IsOk());
  EXPECT_THAT(FailedPrecondition(as_guest), HasSubstr("may not use all of latchkey's tables"));
  EXPECT_THAT(storage::ReadSchemaState(as_guest), HasCode(absl::StatusCode::kFailedPrecondition));
}

TEST(Migrations, WantUtf8) {
  const std::string fresh = FreshDatabase();
  const std::string name = RunSql(fresh, "SELECT current_database() || '_latin'");
  RunSql(fresh, absl::StrCat("CREATE DATABASE ", name, " ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"));
  const std::string latin = absl::StrCat(fresh, " dbname=", name);
  EXPECT_THAT(FailedPrecondition(latin), HasSubstr("encoding is LATIN1"));
  EXPECT_THAT(storage::ReadSchemaState(latin), HasCode(absl::StatusCode::kFailedPrecondition));
}

// What a server of schema 1 wrote: step 1 alone, a key through append_changes.
std::string DatabaseOfStep1() {
  std::string database = FreshDatabase();
  RunSql(database,
         "CREATE TABLE schema_migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL "
         "DEFAULT clock_timestamp())");
  RunSql(database, storage::postgres::SchemaSteps().at(0).expand);
  RunSql(database, "INSERT INTO schema_migrations (version) VALUES (1)");
  RunSql(
      database,
      "INSERT INTO keys (kid, organization, display_name, description, role, owner, labels, key_hint, creator, "
      "creator_kid, created_at, updated_at, expires_at, deleted_at, purge_at, delete_reason) VALUES ('old', 'system', "
      "'Old', '', 'owner', 'ops', '{}', 'lk1_abcd', 'bootstrap', '', now(), now(), 'infinity', 'infinity', "
      "'infinity', 0)");
  RunSql(database, "INSERT INTO secret_versions VALUES ('old', 1, 'hash', 'p1', now(), 'infinity')");
  RunSql(database,
         "SELECT append_changes(ARRAY[convert_to('{\"v\":1}', 'UTF8')], ARRAY['key'], ARRAY['system'], "
         "ARRAY['old'])");
  return database;
}

TEST(Migrations, KeepWhatADatabaseOfTheFirstStepHolds) {
  const std::string database = DatabaseOfStep1();
  const std::string chain = RunSql(database, "SELECT chain FROM change_log WHERE rev = 1");
  ASSERT_THAT(storage::Migrate(database), IsOk());
  EXPECT_EQ(Steps(database), "1,2");
  EXPECT_EQ(Expansions(database), "3,4,5,6,7,8");
  EXPECT_EQ(RunSql(database, "SELECT chain FROM change_log WHERE rev = 1"), chain);

  const auto store = storage::PostgresKeyStore::Create({.connection_string = database});
  const keys::KeyRecord old = store->ReadKey("system", "old").value().value();
  EXPECT_EQ(old.revision, 1);
  EXPECT_TRUE(old.allowed_cidrs.empty());
  EXPECT_EQ(old.last_used_at, absl::InfinitePast());
  ASSERT_EQ(old.versions.size(), 1u);
  EXPECT_EQ(store->ReadSettings().value(), keys::Settings{.level = keys::kReleaseZeroLevel});
  Snapshot snapshot;
  ASSERT_THAT(store->LoadSnapshot(snapshot), IsOk());
  EXPECT_THAT(snapshot.keys, ::testing::ElementsAre(ShownOf(old)));

  // The log goes on, chained to the old rows; those have no proofs, new ones do.
  ASSERT_THAT(store->PutProofs({{"old", 1, ProofOf(1, 'A')}}), IsOk());
  EXPECT_TRUE(store->ReadLog(0, 100)->proofs.empty());
  keys::KeyRecord renamed = old;
  renamed.display_name = "renamed";
  ASSERT_THAT(store->Commit({.kids = {"old"}}, Always({ChangeOf(renamed)})), IsOk());
  const storage::LogPage page = store->ReadLog(0, 100).value();
  EXPECT_EQ(page.rows.size(), 3u);
  EXPECT_EQ(Flaw(page.rows), "");
  EXPECT_EQ(page.proofs.size(), 1u);
}

TEST(Schema, APurgeTakesProofsAndUsesAlong) {
  const std::string database = FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  const auto store = storage::PostgresKeyStore::Create({.connection_string = database});
  for (const char* kid : {"gone", "kept"}) {
    ASSERT_THAT(store->Commit({}, Always({ChangeOf(Key(kid, "system"), ProvenSecret(1, 'A'))})), IsOk());
    storage::Use use;
    use.kid = kid;
    use.count = 1;
    use.hour = use.last_used_at = At(0);
    ASSERT_THAT(store->AddUses({use}, {}), IsOk());
  }
  RunSql(database, "DELETE FROM keys WHERE kid = 'gone'");
  for (const char* table : {"secret_versions", "proofs", "key_use", "key_use_hours"}) {
    EXPECT_EQ(RunSql(database, absl::StrCat("SELECT string_agg(kid, ',') FROM ", table)), "kept") << table;
  }
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
