// Today's server on what release 0 left behind (tests/release_0).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "nlohmann/json.hpp"
#include "tests/support/postgres_environment.h"
#include "tests/support/rpc_client.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace latchkey {
namespace {

using testing::FreshDatabase;
using testing::IsOk;
using testing::ReadFile;
using testing::RpcClient;
using testing::RunningServer;
using testing::RunSql;
using testing::TempDirectory;

std::string Fixture(const std::string& name) { return ReadFile(LATCHKEY_TESTS_DIR "/release_0/" + name); }

TEST(Release0, ItsDatabaseIsServedWithEveryKeyAsItWas) {
  const std::string database = FreshDatabase();
  RunSql(database, Fixture("database.sql"));
  const TempDirectory directory;
  const RunningServer server({"serve", "--hash-profile", "random-key", "--database-url-file",
                              directory.WriteFile("database.url", database + "\n"), "--keyring",
                              directory.WriteFile("keyring.json", Fixture("keyring.json"))});
  ASSERT_TRUE(server.listens());
  ASSERT_TRUE(server.WaitUntilServing());
  const nlohmann::json keys = nlohmann::json::parse(Fixture("keys.json"));
  const RpcClient verifier = server.As(keys["verifier"]);
  const RpcClient owner = server.As(keys["acme_owner"]);

  const absl::StatusOr<v1::VerifyResponse> live = verifier.Verify(keys["live"]);
  ASSERT_THAT(live, IsOk());
  EXPECT_EQ(live->decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(live->identity().display_name(), "CI deploy");
  EXPECT_EQ(live->identity().role(), "editor");
  EXPECT_EQ(live->identity().labels().at("team"), "web");
  const absl::StatusOr<v1::VerifyResponse> ends = verifier.Verify(keys["ends_in_2100"]);
  ASSERT_THAT(ends, IsOk());
  EXPECT_EQ(ends->decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(ends->identity().display_name(), "Ends, renamed");
  EXPECT_EQ(ends->identity().expire_time().seconds(), 4102542245);
  EXPECT_EQ(verifier.Decide(keys["revoked"]), v1::DECISION_REVOKED);

  // And life goes on: the change log continues where that release stopped.
  const absl::StatusOr<v1::Key> renamed = owner.Rename(live->identity().name(), "CI deploy, again");
  ASSERT_THAT(renamed, IsOk());
  EXPECT_EQ(renamed->revision().number(), 10);
  const v1::CreateKeyResponse made = owner.MustCreate("acme", "of today", "viewer");
  EXPECT_EQ(verifier.Decide(made.key_string()), v1::DECISION_ALLOWED);
  ASSERT_THAT(owner.Delete(ends->identity().name()), IsOk());
  EXPECT_EQ(verifier.Decide(keys["ends_in_2100"]), v1::DECISION_REVOKED);
}

}  // namespace
}  // namespace latchkey
