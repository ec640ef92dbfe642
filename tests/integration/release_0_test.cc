// Today's server on what release 0 left behind, and beside release 0's own server and command (tests/release_0).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "client/core/key_format.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/rpc_client.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace latchkey {
namespace {

using testing::ChildProcess;
using testing::Eventually;
using testing::FreshDatabase;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Program;
using testing::ReadFile;
using testing::RpcClient;
using testing::RunLatchkeyd;
using testing::RunningServer;
using testing::RunSql;
using testing::TempDirectory;

constexpr char kToday[] = "server/latchkeyd";
constexpr char kReleaseZero[] = "tests/release_0/build/server/latchkeyd";

std::string Fixture(const std::string& name) { return ReadFile(LATCHKEY_TESTS_DIR "/release_0/" + name); }

// Release 0's database with its key ring, and files with its keys.
class ReleaseZeroInstallation {
 public:
  ReleaseZeroInstallation()
      : database_(FreshDatabase()),
        url_file_(directory_.WriteFile("database.url", database_ + "\n")),
        ring_file_(directory_.WriteFile("keyring.json", Fixture("keyring.json"))),
        keys_(nlohmann::json::parse(Fixture("keys.json"))) {
    RunSql(database_, Fixture("database.sql"));
    for (const char* name : {"verifier", "acme_owner"}) directory_.WriteFile(name, Key(name) + "\n");
  }

  std::unique_ptr<RunningServer> Start(const char* program) const {
    const std::vector<std::string> arguments = {"serve",   "--hash-profile", "random-key", "--database-url-file",
                                                url_file_, "--keyring",      ring_file_};
    return std::make_unique<RunningServer>(arguments, std::vector<std::string>(), program);
  }
  std::string Key(const std::string& name) const { return keys_.at(name); }
  std::string KeyFile(const std::string& name) const { return directory_.Child(name); }
  const TempDirectory& directory() const { return directory_; }
  const std::string& database() const { return database_; }
  const std::string& url_file() const { return url_file_; }

 private:
  const TempDirectory directory_;
  const std::string database_;
  const std::string url_file_;
  const std::string ring_file_;
  const nlohmann::json keys_;
};

// The founding story by one `latchkey`: an administrator at one server, a service at another.
void TellFoundingStory(const ReleaseZeroInstallation& installation, const std::string& latchkey,
                       const RunningServer& administered, const RunningServer& asked) {
  const auto run = [&](const RunningServer& server, const std::string& key_file, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), Program(latchkey));
    return ChildProcess::Run({.arguments = std::move(arguments),
                              .environment = {"LATCHKEY_SERVER=" + server.address(), "LATCHKEY_KEY_FILE=" + key_file}});
  };
  const auto create = [&](const std::string& by, const std::string& name, const std::string& role) {
    // The server may not have heard of the creator yet.
    ChildProcess::Result result;
    Eventually(absl::Seconds(30), [&] {
      result = run(administered, installation.KeyFile(by),
                   {"keys", "create", "--organization", "acme", "--name", name, "--role", role});
      return result.error.find("CREDENTIALS_INVALID") == std::string::npos;
    });
    return result;
  };
  const auto verify_ends_with = [&](int code, const std::string& what) {
    ChildProcess::Result result;
    const bool came = Eventually(absl::Seconds(30), [&] {
      result = run(asked, installation.KeyFile("verifier"), {"verify", "--key-file", installation.KeyFile("made")});
      return result.exit_code == code;
    });
    EXPECT_TRUE(came) << result.output << result.error;
    EXPECT_THAT(result.output, HasSubstr(what));
  };

  const ChildProcess::Result admin = create("acme_owner", "Ada", "admin");
  ASSERT_EQ(admin.exit_code, 0) << admin.error;
  installation.directory().WriteFile("admin", admin.output);
  const ChildProcess::Result above = create("admin", "Too much", "owner");
  EXPECT_EQ(above.exit_code, 1);
  EXPECT_THAT(above.error, HasSubstr("ROLE_EXCEEDS_CREATOR"));
  const ChildProcess::Result made = create("admin", "Site publisher", "editor");
  ASSERT_EQ(made.exit_code, 0) << made.error;
  installation.directory().WriteFile("made", made.output);
  const std::string key_string = made.output.substr(0, made.output.size() - 1);
  const auto parts = core::ParseKeyString(key_string);
  ASSERT_TRUE(parts.has_value());
  const std::string name = "acme/" + std::string(parts->kid);
  verify_ends_with(0, "allowed");
  const auto as_admin = [&](const RunningServer& server, std::vector<std::string> arguments) {
    return run(server, installation.KeyFile("admin"), std::move(arguments));
  };
  ChildProcess::Result renamed;
  const bool was_renamed = Eventually(absl::Seconds(30), [&] {
    renamed = as_admin(asked, {"keys", "rename", name, "--name", "Site publisher, Berlin"});
    return renamed.exit_code == 0;
  });
  ASSERT_TRUE(was_renamed) << renamed.error;
  EXPECT_THAT(as_admin(administered, {"keys", "get", name}).output, HasSubstr("Site publisher, Berlin"));
  EXPECT_EQ(as_admin(administered, {"keys", "revoke", name, "--reason", "compromised"}).exit_code, 0);
  verify_ends_with(1, "REVOKED");
}

TEST(Release0, TheFoundingStoryIsToldAcrossBothVersionsByBothCommandsInBothOrders) {
  for (const bool old_first : {true, false}) {
    const ReleaseZeroInstallation installation;
    const auto first = installation.Start(old_first ? kReleaseZero : kToday);
    ASSERT_TRUE(first->WaitUntilServing());
    const auto second = installation.Start(old_first ? kToday : kReleaseZero);
    ASSERT_TRUE(second->WaitUntilServing());
    for (const char* latchkey : {"client/latchkey", "tests/release_0/build/client/latchkey"}) {
      for (const bool administer_first : {true, false}) {
        SCOPED_TRACE(std::string(latchkey) + (old_first ? ", old first" : ", new first") +
                     (administer_first ? ", administered at the first" : ", administered at the second"));
        TellFoundingStory(installation, latchkey, administer_first ? *first : *second,
                          administer_first ? *second : *first);
      }
    }
    EXPECT_EQ(RunSql(installation.database(),
                     "SELECT string_agg(oldest_level || '-' || newest_level, ' ' ORDER BY newest_level) "
                     "FROM replica_lease"),
              "1-2 2-3");
    EXPECT_EQ(first->Terminate(), 0);
    EXPECT_EQ(second->Terminate(), 0);
  }
}

TEST(Release0, FinishIsRefusedBesideItsServerAndFencesItOffAfterwards) {
  const ReleaseZeroInstallation installation;
  const auto old = installation.Start(kReleaseZero);
  ASSERT_TRUE(old->WaitUntilServing());
  const auto today = installation.Start(kToday);
  ASSERT_TRUE(today->WaitUntilServing());
  EXPECT_THAT(today->process().error(), HasSubstr("an upgrade is not finished"));
  const std::vector<std::string> finish = {"upgrade", "finish", "--database-url-file", installation.url_file()};
  const ChildProcess::Result refused = RunLatchkeyd(finish);
  EXPECT_EQ(refused.exit_code, 78) << refused.output;
  EXPECT_THAT(refused.error, HasSubstr("reads feature levels 1 to 2, not 3, and is running"));
  EXPECT_EQ(old->Terminate(), 0);

  const ChildProcess::Result finished = RunLatchkeyd(finish);
  EXPECT_EQ(finished.exit_code, 0) << finished.error;
  EXPECT_THAT(finished.output, HasSubstr("the installation was at feature level 2 and is at 3"));
  EXPECT_THAT(finished.error, HasSubstr("upgrade finished"));
  EXPECT_THAT(
      RunSql(installation.database(), "SELECT convert_from(body, 'UTF8') FROM change_log ORDER BY rev DESC LIMIT 1"),
      HasSubstr(R"("method":"upgrade finish")"));
  const ChildProcess::Result again = RunLatchkeyd(finish);
  EXPECT_EQ(again.exit_code, 0) << again.error;
  EXPECT_THAT(again.output, HasSubstr("is at feature level 3 already"));
  // The server that lives has taken it over and goes on.
  const v1::CreateKeyResponse made = today->As(installation.Key("acme_owner")).MustCreate("acme", "after", "viewer");
  EXPECT_EQ(today->As(installation.Key("verifier")).Decide(made.key_string()), v1::DECISION_ALLOWED);

  const ChildProcess::Result old_now = ChildProcess::Run(
      {.arguments = {Program(kReleaseZero), "migrate", "--database-url-file", installation.url_file()}});
  EXPECT_EQ(old_now.exit_code, 78);
  EXPECT_THAT(old_now.error, HasSubstr("use a newer latchkeyd"));
}

TEST(Release0, AnInterruptedFinishHasNoWayBackAndGoesOn) {
  const ReleaseZeroInstallation installation;
  ASSERT_EQ(RunLatchkeyd({"migrate", "--database-url-file", installation.url_file()}).exit_code, 0);
  // The commit that raises the level, and nothing after it.
  RunSql(installation.database(), "DELETE FROM replica_lease; UPDATE settings SET level = 3");
  for (const char* command : {"migrate", "replicas"}) {
    const ChildProcess::Result refused = ChildProcess::Run(
        {.arguments = {Program(kReleaseZero), command, "--database-url-file", installation.url_file()}});
    EXPECT_EQ(refused.exit_code, 78) << command << ": " << refused.output << refused.error;
  }
  const auto today = installation.Start(kToday);
  ASSERT_TRUE(today->WaitUntilServing());
  EXPECT_THAT(today->process().error(), HasSubstr("the end of an upgrade was interrupted"));
  const ChildProcess::Result finished =
      RunLatchkeyd({"upgrade", "finish", "--database-url-file", installation.url_file()});
  EXPECT_EQ(finished.exit_code, 0) << finished.error;
  EXPECT_THAT(finished.output, HasSubstr("is at feature level 3 already"));
  EXPECT_EQ(RunSql(installation.database(), "SELECT count(*) FROM schema_expansions WHERE contracted_at IS NULL"), "0");
}

TEST(Release0, ItsDatabaseIsServedWithEveryKeyAsItWas) {
  const ReleaseZeroInstallation installation;
  const auto server = installation.Start(kToday);
  ASSERT_TRUE(server->listens());
  ASSERT_TRUE(server->WaitUntilServing());
  const RpcClient verifier = server->As(installation.Key("verifier"));
  const RpcClient owner = server->As(installation.Key("acme_owner"));

  const absl::StatusOr<v1::VerifyResponse> live = verifier.Verify(installation.Key("live"));
  ASSERT_THAT(live, IsOk());
  EXPECT_EQ(live->decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(live->identity().display_name(), "CI deploy");
  EXPECT_EQ(live->identity().role(), "editor");
  EXPECT_EQ(live->identity().labels().at("team"), "web");
  const absl::StatusOr<v1::VerifyResponse> ends = verifier.Verify(installation.Key("ends_in_2100"));
  ASSERT_THAT(ends, IsOk());
  EXPECT_EQ(ends->decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(ends->identity().display_name(), "Ends, renamed");
  EXPECT_EQ(ends->identity().expire_time().seconds(), 4102542245);
  EXPECT_EQ(verifier.Decide(installation.Key("revoked")), v1::DECISION_REVOKED);

  // And life goes on: the change log continues where that release stopped.
  const absl::StatusOr<v1::Key> renamed = owner.Rename(live->identity().name(), "CI deploy, again");
  ASSERT_THAT(renamed, IsOk());
  EXPECT_EQ(renamed->revision().number(), 10);
  const v1::CreateKeyResponse made = owner.MustCreate("acme", "of today", "viewer");
  EXPECT_EQ(verifier.Decide(made.key_string()), v1::DECISION_ALLOWED);
  ASSERT_THAT(owner.Delete(ends->identity().name()), IsOk());
  EXPECT_EQ(verifier.Decide(installation.Key("ends_in_2100")), v1::DECISION_REVOKED);
}

}  // namespace
}  // namespace latchkey
