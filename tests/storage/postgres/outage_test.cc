#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

// PostgreSQL that goes away, comes back, is slow or leaves a commit in doubt. On a PostgreSQL of its own.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using ::latchkey::testing::RunSql;
using storage::PostgresKeyStore;

class PostgresKeyStoreOutage : public ::testing::Test {
 protected:
  void SetUp() override {
    postgres_ = latchkey::testing::StartPostgres(directory_.Child("postgres"));
    database_ = postgres_->ConnectionString();
    ASSERT_THAT(storage::Migrate(database_), IsOk());
    store_ = PostgresKeyStore::Create({.connection_string = database_, .lock_timeout = absl::Seconds(30)});
    const std::vector<keys::Change> acme = {ChangeOf(Organization("acme"))};
    ASSERT_THAT(store_->Commit(PlanFor(acme), Always(acme)), IsOk());
  }

  absl::StatusOr<storage::Committed> PutKey(const std::string& kid) {
    const std::vector<keys::Change> changes = {ChangeOf(Key(kid))};
    return store_->Commit(PlanFor(changes), Always(changes));
  }

  // The server process of a session of ours that waits for `event`; waits for it to be there.
  pid_t WaitingBackend(const std::string& event) {
    for (int i = 0; i < 1000; ++i) {
      int pid = 0;
      if (absl::SimpleAtoi(RunSql(database_, absl::StrCat("SELECT pid FROM pg_stat_activity WHERE application_name = "
                                                          "'latchkeyd' AND wait_event = '",
                                                          event, "'")),
                           &pid)) {
        return pid;
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    ADD_FAILURE() << "no session waits for " << event;
    return 0;
  }

  // From now on every commit is done here but waits for a replica that does not exist.
  void WaitForReplicas() {
    RunSql(database_, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    RunSql(database_, "SELECT pg_reload_conf()");
    for (int i = 0; i < 1000 && RunSql(database_, "SHOW synchronous_standby_names") != "nobody"; ++i) {
      absl::SleepFor(absl::Milliseconds(10));
    }
  }

  // From now on nobody waits for it. Tried until PostgreSQL takes it, which may be recovering.
  void WaitForReplicasNoMore() {
    const auto run = [this](const char* sql) {
      PGconn* const connection = PQconnectdb(database_.c_str());
      PGresult* const result = PQexec(connection, sql);
      const bool done = PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK;
      PQclear(result);
      PQfinish(connection);
      return done;
    };
    for (int i = 0; i < 1000; ++i) {
      if (run("ALTER SYSTEM RESET synchronous_standby_names") && run("SELECT pg_reload_conf()")) return;
      absl::SleepFor(absl::Milliseconds(10));
    }
    ADD_FAILURE() << "PostgreSQL did not come back";
  }

  // Once PostgreSQL has recovered from a crash of one of its processes.
  void WaitForRecovery() {
    for (int i = 0; i < 1000; ++i) {
      if (PQping(database_.c_str()) == PQPING_OK) return;
      absl::SleepFor(absl::Milliseconds(10));
    }
    ADD_FAILURE() << "PostgreSQL did not come back";
  }

  latchkey::testing::TempDirectory directory_;
  std::unique_ptr<app::EmbeddedPostgres> postgres_;
  std::string database_;
  std::unique_ptr<PostgresKeyStore> store_;
};

// `root` and all that descend from it.
std::vector<pid_t> ProcessTree(pid_t root) {
  std::vector<pid_t> tree = {root};
  std::vector<std::pair<pid_t, pid_t>> parents;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    std::ifstream file(entry.path() / "stat");
    std::stringstream text;
    text << file.rdbuf();
    // "pid (name) state ppid ...": a name may hold anything.
    std::stringstream rest(text.str().substr(std::min(text.str().size(), text.str().rfind(')') + 1)));
    std::string state;
    pid_t parent = 0;
    if (rest >> state >> parent) parents.emplace_back(parent, pid);
  }
  for (size_t i = 0; i < tree.size(); ++i) {
    for (const auto& [parent, pid] : parents) {
      if (parent == tree[i]) tree.push_back(pid);
    }
  }
  return tree;
}

TEST(PostgresKeyStore, NeedsNoDatabaseToBeMade) {
  const auto store = PostgresKeyStore::Create({.connection_string = "host=/nonexistent dbname=latchkey"});
  EXPECT_THAT(store->ReadKey("acme", "k"), HasReason("DATABASE_UNAVAILABLE"));
  Snapshot snapshot;
  EXPECT_THAT(store->LoadSnapshot(snapshot), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(store->Commit({}, Always({})), HasReason("DATABASE_UNAVAILABLE"));
}

TEST(PostgresKeyStore, TakesAUriToo) {
  const auto store = PostgresKeyStore::Create({.connection_string = "postgresql:///latchkey?host=/nonexistent"});
  EXPECT_THAT(store->ReadKey("acme", "k"), HasReason("DATABASE_UNAVAILABLE"));
}

TEST(PostgresKeyStore, AFullPoolIsUnavailableAfterItsPatience) {
  const std::string database = latchkey::testing::FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  const auto store =
      PostgresKeyStore::Create({.connection_string = database, .pool_size = 1, .pool_wait = absl::Milliseconds(20)});
  EXPECT_THAT(store->Commit({},
                            [&](const storage::LockedState&) -> absl::StatusOr<storage::Mutation> {
                              EXPECT_THAT(store->ReadKey("acme", "k"), HasReason("DATABASE_UNAVAILABLE"));
                              return storage::Mutation();
                            }),
              IsOk());
  EXPECT_THAT(store->ReadKey("acme", "k"), IsOk());
}

TEST(PostgresKeyStore, ALockThatStaysHeldIsContention) {
  const std::string database = latchkey::testing::FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  const auto store = PostgresKeyStore::Create({.connection_string = database, .lock_timeout = absl::Milliseconds(20)});
  ASSERT_THAT(store->Commit({}, Always({ChangeOf(Key("k", "system"))})), IsOk());
  int asked = 0;
  EXPECT_THAT(store->Commit({.kids = {"k"}},
                            [&](const storage::LockedState&) -> absl::StatusOr<storage::Mutation> {
                              EXPECT_THAT(store->Commit({.kids = {"k"}},
                                                        [&](const storage::LockedState&) {
                                                          ++asked;
                                                          return storage::Mutation();
                                                        }),
                                          HasReason("CONTENDED"));
                              return storage::Mutation();
                            }),
              IsOk());
  EXPECT_EQ(asked, 0);
}

TEST(PostgresKeyStore, AHeldLogHeadIsContentionAndWritesNothing) {
  const std::string database = latchkey::testing::FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  const auto store = PostgresKeyStore::Create({.connection_string = database, .lock_timeout = absl::Milliseconds(20)});
  PGconn* holder = PQconnectdb(database.c_str());
  PQclear(PQexec(holder, "BEGIN; UPDATE log_head SET rev = rev"));
  EXPECT_THAT(store->Commit({}, Always({ChangeOf(Key("k", "system"))})), HasReason("CONTENDED"));
  PQfinish(holder);
  EXPECT_FALSE(store->ReadKey("acme", "k").value().has_value());
  EXPECT_EQ(store->ReadLog(0, 10).value().head, 0);
}

TEST(PostgresKeyStore, AnInternalErrorQuotesNoValue) {
  const std::string database = latchkey::testing::FreshDatabase();
  ASSERT_THAT(storage::Migrate(database), IsOk());
  const auto store = PostgresKeyStore::Create({.connection_string = database});
  for (const std::string& value : {std::string("canary\xff"), std::string("canary\0x", 8)}) {
    keys::KeyRecord key = Key("k", "system");
    key.owner = value;
    keys::NewSecret secret = Secret();
    secret.hash = value;
    const absl::Status status = store->Commit({}, Always({ChangeOf(key, secret)})).status();
    EXPECT_THAT(status, HasReason("INTERNAL"));
    EXPECT_EQ(status.ToString().find("canary"), std::string::npos) << status;
  }
  EXPECT_EQ(store->ReadLog(0, 10).value().head, 0);
}

TEST_F(PostgresKeyStoreOutage, ARestartBetweenTwoCallsIsNotNoticed) {
  ASSERT_THAT(PutKey("k1"), IsOk());
  const core::HistoryId history = store_->ReadLog(0, 2)->history;
  ASSERT_THAT(postgres_->Restart(), IsOk());
  EXPECT_NE(store_->ReadLog(0, 2)->history, history) << "what the log's readers notice";
  EXPECT_THAT(PutKey("k2"), IsOk());
  ASSERT_THAT(postgres_->Restart(), IsOk());
  EXPECT_TRUE(store_->ReadKey("acme", "k1").value().has_value());
  ASSERT_THAT(postgres_->Restart(), IsOk());
  Snapshot snapshot;
  ASSERT_THAT(store_->LoadSnapshot(snapshot), IsOk());
  EXPECT_EQ(snapshot.keys.size(), 2u);
}

TEST_F(PostgresKeyStoreOutage, WhileItIsAwayCallsAreUnavailableAndLaterTheyWork) {
  ASSERT_THAT(PutKey("k1"), IsOk());
  postgres_->Signal(SIGKILL);
  while (postgres_->Running()) absl::SleepFor(absl::Milliseconds(1));
  // Its processes follow it once they notice.
  while (store_->ReadKey("acme", "k1").ok()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_THAT(store_->ReadKey("acme", "k1"), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(PutKey("k2"), HasReason("DATABASE_UNAVAILABLE"));
  ASSERT_THAT(postgres_->Restart(), IsOk());
  EXPECT_TRUE(store_->ReadKey("acme", "k1").value().has_value());
  EXPECT_FALSE(store_->ReadKey("acme", "k2").value().has_value());
  EXPECT_THAT(PutKey("k2"), IsOk());
}

TEST_F(PostgresKeyStoreOutage, AStoppedServerIsUnavailable) {
  store_ = PostgresKeyStore::Create(
      {.connection_string = database_, .connect_timeout = absl::Seconds(2), .statement_timeout = absl::Seconds(1)});
  ASSERT_THAT(PutKey("k1"), IsOk());
  const std::vector<pid_t> processes = ProcessTree(postgres_->pid());
  EXPECT_GE(processes.size(), 3u);
  for (const pid_t pid : processes) kill(pid, SIGSTOP);
  const absl::Time before = absl::Now();
  EXPECT_THAT(store_->ReadKey("acme", "k1"), HasReason("DATABASE_UNAVAILABLE"));
  // The statement's time is over after 2 s; then one connect.
  EXPECT_GE(absl::Now() - before, absl::Milliseconds(1900));
  EXPECT_LT(absl::Now() - before, absl::Seconds(8));
  for (const pid_t pid : processes) kill(pid, SIGCONT);
  const absl::StatusOr<std::optional<keys::KeyRecord>> key = store_->ReadKey("acme", "k1");
  ASSERT_THAT(key, IsOk());
  EXPECT_TRUE(key->has_value());
  EXPECT_THAT(PutKey("k2"), IsOk());
}

TEST_F(PostgresKeyStoreOutage, ASessionThatBreaksWhileDecidingLosesNothing) {
  // All of ours, idle and working, several times: every attempt but the last two is cut.
  int attempts = 0;
  const absl::StatusOr<storage::Committed> committed =
      store_->Commit({}, [&](const storage::LockedState&) -> absl::StatusOr<storage::Mutation> {
        if (++attempts == 1) {
          RunSql(database_,
                 "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = "
                 "'latchkeyd'");
        }
        return storage::Mutation{.changes = {ChangeOf(Key("k1"))}};
      });
  EXPECT_THAT(committed, IsOk());
  EXPECT_EQ(attempts, 2);
  EXPECT_TRUE(store_->ReadKey("acme", "k1").value().has_value());
}

TEST_F(PostgresKeyStoreOutage, ACommitThatIsCutBeforeItHappenedIsUnavailable) {
  PGconn* holder = PQconnectdb(database_.c_str());
  PQclear(PQexec(holder, "BEGIN; UPDATE log_head SET rev = rev"));
  absl::StatusOr<storage::Committed> committed = absl::UnknownError("not run");
  std::thread writer([&] { committed = PutKey("k1"); });
  const pid_t backend = WaitingBackend("transactionid");
  RunSql(database_, absl::StrCat("SELECT pg_terminate_backend(", backend, ")"));
  writer.join();
  PQfinish(holder);
  EXPECT_THAT(committed, HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_FALSE(store_->ReadKey("acme", "k1").value().has_value());
  EXPECT_EQ(store_->ReadLog(0, 10).value().head, 1);
}

TEST_F(PostgresKeyStoreOutage, ACommitWhoseReplyWasCutIsFoundAgain) {
  WaitForReplicas();
  absl::StatusOr<storage::Committed> committed = absl::UnknownError("not run");
  std::thread writer([&] { committed = PutKey("k1"); });
  // Committed, not yet acknowledged: now the server process dies, and PostgreSQL recovers.
  kill(WaitingBackend("SyncRep"), SIGKILL);
  // Whoever asks waits for the replica too.
  WaitForReplicasNoMore();
  writer.join();
  ASSERT_THAT(committed, IsOk());
  ASSERT_EQ(committed->rows.size(), 1u);
  EXPECT_EQ(committed->history, core::kNoHistory) << "another one may have told";
  EXPECT_EQ(committed->rows[0].rev, 2);
  EXPECT_EQ(committed->rows[0].chain, store_->ReadLog(2, 2).value().rows.at(0).chain);
  EXPECT_EQ(store_->ReadKey("acme", "k1").value()->revision, 2);
}

TEST_F(PostgresKeyStoreOutage, ACommitThatIsThereButMayNotBeReplicatedIsInDoubt) {
  store_ = PostgresKeyStore::Create(
      {.connection_string = database_, .statement_timeout = absl::Seconds(1), .in_doubt_patience = absl::Seconds(3)});
  WaitForReplicas();
  absl::StatusOr<storage::Committed> committed = absl::UnknownError("not run");
  std::thread writer([&] { committed = PutKey("k1"); });
  kill(WaitingBackend("SyncRep"), SIGKILL);
  writer.join();
  // It is there, and would be lost with this server.
  EXPECT_THAT(committed, HasReason("OUTCOME_UNKNOWN"));
  WaitForRecovery();
  EXPECT_EQ(store_->ReadKey("acme", "k1").value()->revision, 2);
}

TEST_F(PostgresKeyStoreOutage, ACommitThatGaveUpOnItsReplicasIsInDoubt) {
  WaitForReplicas();
  for (const char* give_up : {"pg_cancel_backend", "pg_terminate_backend"}) {
    absl::StatusOr<storage::Committed> committed = absl::UnknownError("not run");
    std::thread writer([&] { committed = PutKey("k1"); });
    RunSql(database_, absl::StrCat("SELECT ", give_up, "(", WaitingBackend("SyncRep"), ")"));
    writer.join();
    EXPECT_THAT(committed, HasReason("OUTCOME_UNKNOWN")) << give_up;
  }
}

TEST_F(PostgresKeyStoreOutage, ARenewalThatIsCutIsAnErrorAndIsNotRepeated) {
  ASSERT_THAT(store_->EnterReplica("r", ""), IsOk());
  ASSERT_THAT(store_->RenewLease({"r", 1, 1}, 0, 2), IsOk());
  const int64_t beat = store_->ReadReplicas()->at(0).beat;
  PGconn* holder = PQconnectdb(database_.c_str());
  PQclear(PQexec(holder, "BEGIN; UPDATE replica_lease SET doorbell = doorbell"));
  absl::StatusOr<storage::LogPage> page = absl::UnknownError("not run");
  std::thread follower([&] { page = store_->RenewLease({"r", 2, 2}, 0, 2); });
  RunSql(database_, absl::StrCat("SELECT pg_terminate_backend(", WaitingBackend("transactionid"), ", 5000)"));
  // A second try would find the row free.
  PQfinish(holder);
  follower.join();
  EXPECT_THAT(page, HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_EQ(store_->ReadReplicas()->at(0).beat, beat);
  EXPECT_THAT(store_->RenewLease({"r", 2, 2}, 0, 2), IsOk()) << "the next call has a session of its own";
}

TEST_F(PostgresKeyStoreOutage, ARenewalThatGaveUpOnItsReplicasIsInDoubt) {
  ASSERT_THAT(store_->EnterReplica("r", ""), IsOk());
  WaitForReplicas();
  for (const char* give_up : {"pg_cancel_backend", "pg_terminate_backend"}) {
    absl::StatusOr<storage::LogPage> page = absl::UnknownError("not run");
    std::thread follower([&] { page = store_->RenewLease({"r", 1, 1}, 0, 2); });
    RunSql(database_, absl::StrCat("SELECT ", give_up, "(", WaitingBackend("SyncRep"), ")"));
    follower.join();
    EXPECT_THAT(page, HasReason("OUTCOME_UNKNOWN")) << give_up;
  }
}

TEST_F(PostgresKeyStoreOutage, ADatabaseThatMayOnlyBeReadRenewsNothing) {
  ASSERT_THAT(store_->EnterReplica("r", ""), IsOk());
  ASSERT_THAT(store_->RenewLease({"r", 1, 1}, 0, 2), IsOk());
  const int64_t beat = store_->ReadReplicas()->at(0).beat;
  // As on a standby, for every session there is.
  RunSql(database_, "ALTER SYSTEM SET default_transaction_read_only = on");
  RunSql(database_, "SELECT pg_reload_conf()");
  absl::StatusOr<storage::LogPage> page = storage::LogPage();
  for (int i = 0; i < 1000 && page.ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
    page = store_->RenewLease({"r", 1, 1}, 0, 2);
  }
  EXPECT_THAT(page, HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_EQ(RunSql(database_, "SELECT beat >= " + std::to_string(beat) + " FROM replica_lease"), "t");
  RunSql(database_ + " options='-c default_transaction_read_only=off'",
         "ALTER SYSTEM RESET default_transaction_read_only");
  RunSql(database_, "SELECT pg_reload_conf()");
  for (int i = 0; i < 1000 && !page.ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
    page = store_->RenewLease({"r", 1, 1}, 0, 2);
  }
  EXPECT_THAT(page, IsOk()) << "a session on the standby was kept";
}

// Ends every session of ours once, as the first key arrives.
class CutWhileLoading final : public storage::SnapshotSink {
 public:
  explicit CutWhileLoading(const std::string& database) : database_(database) {}
  void Begin(const keys::LogPosition& position, int64_t count) override {
    ++begun;
    seen.Begin(position, count);
  }
  void Add(const keys::OrganizationRecord& organization) override { seen.Add(organization); }
  void Add(const keys::RoleRecord& role) override { seen.Add(role); }
  void Add(const storage::SnapshotKey& key) override {
    seen.Add(key);
    if (!std::exchange(cut_, true)) {
      RunSql(database_, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'latchkeyd'");
    }
  }
  int begun = 0;
  Snapshot seen;

 private:
  const std::string database_;
  bool cut_ = false;
};

TEST_F(PostgresKeyStoreOutage, ASnapshotThatIsCutStartsAnew) {
  std::vector<keys::Change> changes;
  for (int i = 0; i < 20000; ++i) {
    changes.push_back(ChangeOf(Key(absl::StrCat("k", i))));
    changes.back().key->display_name = std::string(500, 'x');  // More than the socket holds.
  }
  ASSERT_THAT(store_->Commit({}, Always(changes)), IsOk());
  CutWhileLoading sink(database_);
  EXPECT_THAT(store_->LoadSnapshot(sink), IsOk());
  EXPECT_EQ(sink.begun, 2);
  EXPECT_EQ(sink.seen.keys.size(), 20000u);
}

TEST_F(PostgresKeyStoreOutage, UsesWhoseCommitIsInDoubtAreNotCountedAgain) {
  ASSERT_THAT(PutKey("k1"), IsOk());
  storage::Use use;
  use.kid = "k1";
  use.hour = At(0);
  use.count = 1;
  WaitForReplicas();
  for (const char* give_up : {"pg_cancel_backend", "pg_terminate_backend"}) {
    absl::Status status = absl::UnknownError("not run");
    std::thread writer([&] { status = store_->AddUses({use}, {}); });
    RunSql(database_, absl::StrCat("SELECT ", give_up, "(", WaitingBackend("SyncRep"), ")"));
    writer.join();
    EXPECT_THAT(status, HasReason("OUTCOME_UNKNOWN")) << give_up;
  }
  EXPECT_EQ(RunSql(database_, "SELECT sum(count) FROM key_use_hours"), "2");
}

TEST_F(PostgresKeyStoreOutage, CountingAndProvingWaitForNoKeysRow) {
  ASSERT_THAT(PutKey("k1"), IsOk());
  store_ = PostgresKeyStore::Create({.connection_string = database_, .lock_timeout = absl::Milliseconds(50)});
  storage::Use use;
  use.kid = "k1";
  use.hour = use.last_used_at = At(0);
  use.count = 1;
  PGconn* holder = PQconnectdb(database_.c_str());
  PQclear(PQexec(holder, "BEGIN; SELECT 1 FROM keys FOR UPDATE; SELECT 1 FROM secret_versions FOR NO KEY UPDATE"));
  EXPECT_THAT(store_->AddUses({use}, {{"reporter", "id", {use}}}), IsOk());
  EXPECT_THAT(store_->PutProofs({{"k1", 1, ProofOf(1, 'A')}}), IsOk());
  PQfinish(holder);
  EXPECT_EQ(store_->ReadKey("acme", "k1").value()->last_used_at, At(0));
}

TEST_F(PostgresKeyStoreOutage, ACommitThatNobodyCanBeAskedAboutIsInDoubt) {
  store_ = PostgresKeyStore::Create({.connection_string = database_, .in_doubt_patience = absl::Milliseconds(200)});
  WaitForReplicas();
  absl::StatusOr<storage::Committed> committed = absl::UnknownError("not run");
  std::thread writer([&] { committed = PutKey("k1"); });
  WaitingBackend("SyncRep");
  postgres_->Signal(SIGKILL);
  writer.join();
  EXPECT_THAT(committed, HasReason("OUTCOME_UNKNOWN"));
}

}  // namespace
}  // namespace latchkey::contract
