#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/storage/postgres/migrations.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"

// How long PostgreSQL remembers request ids; that they are remembered is a case of the contract suite.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::FreshDatabase;
using ::latchkey::testing::IsOk;
using ::latchkey::testing::RunSql;

class RequestIds : public ::testing::Test {
 protected:
  RequestIds() {
    EXPECT_THAT(storage::Migrate(database_), IsOk());
    store_ = storage::PostgresKeyStore::Create({.connection_string = database_});
  }
  void Remember(const std::string& scope, const std::string& id) {
    const keys::Change change = ChangeOf(Organization(absl::StrCat("o", ++made_)));
    EXPECT_THAT(store_->Commit({.organization = change.organization->id, .request_scope = scope, .request_id = id},
                               Always({change})),
                IsOk());
  }
  std::string Count(const std::string& scope) {
    return RunSql(database_, absl::StrCat("SELECT count(*) FROM request_ids WHERE scope = '", scope, "'"));
  }

  const std::string database_ = FreshDatabase();
  std::unique_ptr<storage::KeyStore> store_;
  int made_ = 0;
};

TEST_F(RequestIds, AreForgottenAfterADayTwoForEachThatIsNew) {
  RunSql(database_,
         "INSERT INTO request_ids SELECT 'old', n::text, 'name', now() - interval '25 hours' FROM generate_series(1, "
         "5) n");
  RunSql(database_, "INSERT INTO request_ids VALUES ('young', '1', 'name', now() - interval '23 hours')");
  Remember("new", "a");
  EXPECT_EQ(Count("old"), "3");
  for (const char* id : {"b", "c"}) Remember("new", id);
  EXPECT_EQ(Count("old"), "0");
  EXPECT_EQ(Count("young"), "1");
  EXPECT_EQ(Count("new"), "3");
}

TEST_F(RequestIds, OfOneCallerTheNewestTenThousandAreRemembered) {
  RunSql(database_,
         "INSERT INTO request_ids SELECT s, n::text, 'name', now() - n * interval '1 second' FROM "
         "generate_series(1, 10001) n, unnest(ARRAY['busy', 'other']) s");
  Remember("busy", "a");
  EXPECT_EQ(Count("busy"), "10001");
  EXPECT_EQ(RunSql(database_, "SELECT count(*) FROM request_ids WHERE scope = 'busy' AND request_id = '10001'"), "0");
  Remember("busy", "b");
  EXPECT_EQ(Count("busy"), "10001") << "one more makes one less";
  EXPECT_EQ(Count("other"), "10001") << "another caller's";
}

}  // namespace
}  // namespace latchkey::contract
