#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tcp_proxy.h"

// How a transaction of PostgreSQL ends, and what it costs; what becomes of one in doubt is in outage_test.cc.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::FreshDatabase;
using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using ::latchkey::testing::RunSql;
using ::latchkey::testing::TcpProxy;

class CommitTokens : public ::testing::Test {
 protected:
  CommitTokens() {
    EXPECT_THAT(storage::Migrate(database_), IsOk());
    store_ = storage::PostgresKeyStore::Create({.connection_string = database_});
    const std::vector<keys::Change> acme = {ChangeOf(Organization("acme"))};
    EXPECT_THAT(store_->Commit(PlanFor(acme), Always(acme)), IsOk());
  }
  absl::StatusOr<storage::Committed> Put(const keys::KeyRecord& key) {
    const std::vector<keys::Change> changes = {ChangeOf(key)};
    return store_->Commit(PlanFor(changes), Always(changes));
  }
  // What COMMIT does after a row was put into `table`: fails as if nobody knew the outcome.
  void MakeCommitsUnknown(const std::string& table) {
    RunSql(database_,
           "CREATE FUNCTION not_known() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not known' USING "
           "ERRCODE = '40003'; END $$");
    RunSql(database_, absl::StrCat("CREATE CONSTRAINT TRIGGER not_known AFTER INSERT OR UPDATE ON ", table,
                                   " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION not_known()"));
  }

  const std::string database_ = FreshDatabase();
  std::unique_ptr<storage::KeyStore> store_;
};

TEST_F(CommitTokens, AreForgottenWhenNobodyAsksForThemAnyMoreTwoForEachThatIsNew) {
  RunSql(database_,
         "INSERT INTO commit_tokens SELECT decode(lpad(n::text, 32, '0'), 'hex'), -100001 - n, now() - interval '61 "
         "minutes' FROM generate_series(1, 5) n");
  RunSql(
      database_,
      "INSERT INTO commit_tokens VALUES (decode(lpad('a1', 32, '0'), 'hex'), -100001, now() - interval '59 minutes'), "
      "(decode(lpad('a2', 32, '0'), 'hex'), -99000, now() - interval '61 minutes')");
  const auto old = [this] { return RunSql(database_, "SELECT count(*) FROM commit_tokens WHERE rev < -100001"); };
  for (const char* left : {"3", "1", "0"}) {
    ASSERT_THAT(Put(Key(absl::StrCat("k", left))), IsOk());
    EXPECT_EQ(old(), left);
  }
  EXPECT_EQ(RunSql(database_, "SELECT count(*) FROM commit_tokens WHERE rev < 0"), "2");
}

TEST_F(CommitTokens, CompletionThatIsUnknownIsAskedAfterAndNotTakenForContention) {
  MakeCommitsUnknown("change_log");
  int decided = 0;
  const std::vector<keys::Change> changes = {ChangeOf(Key("k1"))};
  EXPECT_THAT(store_->Commit(PlanFor(changes),
                             [&](const storage::LockedState& state) {
                               ++decided;
                               return Always(changes)(state);
                             }),
              HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_EQ(decided, 1);
  EXPECT_FALSE(store_->ReadKey("acme", "k1").value().has_value());
}

TEST_F(CommitTokens, UsesWhoseCompletionIsUnknownAreNotCountedAgain) {
  ASSERT_THAT(Put(Key("k1")), IsOk());
  MakeCommitsUnknown("key_use_hours");
  storage::Use use;
  use.kid = "k1";
  use.hour = At(0);
  use.count = 1;
  EXPECT_THAT(store_->AddUses({use}, {}), HasReason("OUTCOME_UNKNOWN"));
}

// In round trips to the database, measured by a link that takes its time.
TEST_F(CommitTokens, MutationTakesSixRoundTripsAtMost) {
  keys::KeyRecord creator = Key("creator");
  ASSERT_THAT(Put(creator), IsOk());
  keys::KeyRecord child = Key("child");
  child.creator_kid = "creator";
  ASSERT_THAT(Put(child), IsOk());
  TcpProxy link(
      absl::StrCat(RunSql(database_, "SHOW unix_socket_directories"), "/.s.PGSQL.", RunSql(database_, "SHOW port")));
  store_ = storage::PostgresKeyStore::Create(
      {.connection_string = absl::StrCat(database_, " host=127.0.0.1 port=", link.port()), .pool_size = 1});
  const auto mutate = [&](const std::string& request_id) {
    creator.display_name = request_id;
    storage::LockPlan plan;
    plan.kids = {"creator", "child"};
    plan.roles = {{"acme", "custom"}};
    plan.organization = "acme";
    plan.lock_organization = plan.count_other_owners = plan.count_keys = true;
    plan.children.creator_kid = "creator";
    plan.request_scope = "caller";
    plan.request_id = request_id;
    storage::LockedState seen;
    const absl::StatusOr<storage::Committed> committed = store_->Commit(plan, [&](const storage::LockedState& state) {
      seen = state;
      return Always({ChangeOf(creator)})(state);
    });
    EXPECT_THAT(committed, IsOk());
    EXPECT_EQ(seen.children.size(), 1u);
    EXPECT_EQ(seen.keys.size(), 2u);
  };
  mutate("first");  // The session is opened, and statements are prepared.
  ASSERT_THAT(store_->ReadKey("acme", "creator"), IsOk());
  link.SetLatency(absl::Milliseconds(50));
  const absl::Time start = absl::Now();
  ASSERT_THAT(store_->ReadKey("acme", "creator"), IsOk());
  const absl::Time read = absl::Now();
  mutate("second");
  const absl::Time written = absl::Now();
  EXPECT_LT(written - read, (read - start) * 6.5);
}

}  // namespace
}  // namespace latchkey::contract
