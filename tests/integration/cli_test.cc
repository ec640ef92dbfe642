// The `latchkey` command against a real server: every command, both outputs, the exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "client/core/key_format.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class LatchkeyCommand : public ::testing::Test {
 protected:
  // Runs `latchkey ARGUMENTS` with the server and the credentials from the environment.
  ChildProcess::Result Run(std::vector<std::string> arguments, const std::string& credentials,
                           const std::string& input = "") {
    for (const std::string& argument : arguments) {
      EXPECT_THAT(argument, Not(HasSubstr("lk1_"))) << "a key string on a command line";
    }
    arguments.insert(arguments.begin(), Program("client/latchkey"));
    return ChildProcess::Run(
        {.arguments = std::move(arguments),
         .environment = {"LATCHKEY_SERVER=" + dev_.server().address(), "LATCHKEY_KEY_FILE=" + credentials},
         .input = input});
  }
  ChildProcess::Result AsOwner(std::vector<std::string> arguments) {
    return Run(std::move(arguments), dev_.KeyFile("acme"));
  }
  ChildProcess::Result Verify(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), "verify");
    return Run(std::move(arguments), dev_.KeyFile("verifier"), input);
  }

  DevServer& dev_ = SharedDevServer();
  TempDirectory directory_;
};

TEST_F(LatchkeyCommand, TellsTheFoundingStoryInTables) {
  const ChildProcess::Result created =
      AsOwner({"keys", "create", "--organization", "acme", "--name", "Nightly export", "--role", "viewer", "--owner",
               "data team", "--label", "env=prod", "--description", "every night"});
  ASSERT_EQ(created.exit_code, 0) << created.error;
  ASSERT_TRUE(absl::EndsWith(created.output, "\n"));
  const std::string key_string = created.output.substr(0, created.output.size() - 1);
  const auto parts = core::ParseKeyString(key_string);
  ASSERT_TRUE(parts.has_value()) << "stdout is the key string and nothing else";
  const std::string secret(parts->secret);
  const std::string key = "acme/" + std::string(parts->kid);
  EXPECT_THAT(created.error, HasSubstr("only time"));
  EXPECT_THAT(created.error, HasSubstr("Nightly export"));
  EXPECT_THAT(created.error, Not(HasSubstr(secret)));

  const std::string key_file = directory_.WriteFile("incoming.key", created.output);
  const ChildProcess::Result allowed = Verify({"--key-file", key_file, "--permission", "app.read"});
  EXPECT_EQ(allowed.exit_code, 0) << allowed.error;
  EXPECT_THAT(allowed.output, StartsWith("allowed\n"));
  EXPECT_THAT(allowed.output, HasSubstr("data team"));
  const ChildProcess::Result from_stdin = Verify({}, created.output);
  EXPECT_EQ(from_stdin.exit_code, 0) << from_stdin.error;

  const ChildProcess::Result list = AsOwner({"keys", "list", "--organization", "acme"});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.output, HasSubstr(key + "  Nightly export"));
  const ChildProcess::Result renamed = AsOwner({"keys", "rename", key, "--name", "Weekly export"});
  EXPECT_EQ(renamed.exit_code, 0) << renamed.error;
  const ChildProcess::Result got = AsOwner({"keys", "get", std::string(parts->kid), "--organization", "acme"});
  EXPECT_THAT(got.output, HasSubstr("Weekly export"));
  const ChildProcess::Result revoked = AsOwner({"keys", "revoke", key, "--reason", "compromised"});
  EXPECT_EQ(revoked.exit_code, 0) << revoked.error;
  EXPECT_THAT(revoked.output, HasSubstr("DELETED"));
  const ChildProcess::Result denied = Verify({"--key-file", key_file});
  EXPECT_EQ(denied.exit_code, 1);
  EXPECT_THAT(denied.output, StartsWith("denied: REVOKED\n"));
  EXPECT_THAT(AsOwner({"keys", "list", "--organization", "acme"}).output, Not(HasSubstr(key)));
  EXPECT_THAT(AsOwner({"keys", "list", "--organization", "acme", "--show-deleted"}).output, HasSubstr(key));
  for (const ChildProcess::Result& result : {allowed, from_stdin, list, renamed, got, revoked, denied}) {
    EXPECT_THAT(result.output + result.error, Not(HasSubstr(secret)));
  }
}

TEST_F(LatchkeyCommand, TellsTheFoundingStoryInJson) {
  const auto json = [](const ChildProcess::Result& result) {
    EXPECT_EQ(result.exit_code, 0) << result.error;
    return nlohmann::json::parse(result.output, nullptr, /*allow_exceptions=*/false);
  };
  const auto created = json(AsOwner({"--output", "json", "keys", "create", "--organization", "acme", "--name", "JSON",
                                     "--role", "editor", "--ttl", "30d"}));
  const std::string key_string = created.value("keyString", "");
  ASSERT_TRUE(core::ParseKeyString(key_string).has_value());
  const std::string name = created["key"].value("name", "");
  EXPECT_TRUE(created["key"].contains("expireTime"));
  EXPECT_EQ(json(AsOwner({"keys", "get", name, "--output", "json"}))["displayName"], "JSON");
  EXPECT_EQ(json(AsOwner({"keys", "rename", name, "--name", "renamed", "--output", "json"}))["displayName"], "renamed");
  bool listed = false;
  const auto list = json(AsOwner({"keys", "list", "--organization", "acme", "--output", "json"}));
  for (const auto& key : list["keys"]) {
    listed = listed || key["name"] == name;
    EXPECT_FALSE(key.contains("keyString"));
  }
  EXPECT_TRUE(listed);
  const auto verdict = json(Verify({"--output", "json"}, key_string + "\n"));
  EXPECT_EQ(verdict["decision"], "DECISION_ALLOWED");
  EXPECT_EQ(verdict["identity"]["displayName"], "renamed");
  EXPECT_EQ(json(AsOwner({"keys", "revoke", name, "--output", "json"}))["state"], "STATE_DELETED");
  const ChildProcess::Result denied = Verify({"--output", "json"}, key_string + "\n");
  EXPECT_EQ(denied.exit_code, 1);
  EXPECT_EQ(nlohmann::json::parse(denied.output)["decision"], "DECISION_REVOKED");
}

TEST_F(LatchkeyCommand, ListsRolesAndMakesOrganizations) {
  const ChildProcess::Result roles = AsOwner({"roles", "list", "--organization", "acme"});
  EXPECT_EQ(roles.exit_code, 0) << roles.error;
  for (const char* role : {"owner", "admin", "editor", "viewer", "verifier"})
    EXPECT_THAT(roles.output, HasSubstr(role));
  const std::string system = dev_.KeyFile("system");
  const ChildProcess::Result made = Run({"orgs", "create", "umbrella", "--name", "Umbrella Corporation"}, system);
  EXPECT_EQ(made.exit_code, 0) << made.error;
  EXPECT_THAT(Run({"orgs", "list"}, system).output, HasSubstr("Umbrella Corporation"));
  const ChildProcess::Result again = Run({"orgs", "create", "umbrella"}, system);
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.error, HasSubstr("ORGANIZATION_EXISTS"));
  const auto json = nlohmann::json::parse(Run({"--output", "json", "orgs", "list"}, system).output);
  EXPECT_GE(json["organizations"].size(), 3u);
}

TEST_F(LatchkeyCommand, RefusalsExitWithOneAndNameTheReason) {
  const ChildProcess::Result unknown =
      AsOwner({"keys", "create", "--organization", "acme", "--name", "x", "--role", "no-such-role"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.error, HasSubstr("ROLE_UNKNOWN"));
  EXPECT_THAT(unknown.error, HasSubstr("key.role"));
  const ChildProcess::Result missing = AsOwner({"keys", "get", "acme/0123456789ABCDEF"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.error, HasSubstr("KEY_NOT_FOUND"));
  const ChildProcess::Result forbidden = Run({"keys", "list", "--organization", "acme"}, dev_.KeyFile("verifier"));
  EXPECT_EQ(forbidden.exit_code, 1);
  EXPECT_THAT(forbidden.error, HasSubstr("PERMISSION_MISSING"));
}

TEST_F(LatchkeyCommand, VerifyTellsDeniedFromUndecided) {
  EXPECT_EQ(Verify({}, "garbage\n").exit_code, 1);
  EXPECT_THAT(Verify({}, "garbage\n").output, StartsWith("denied: MALFORMED\n"));
  const std::string verifier_key = dev_.Key("verifier") + "\n";
  EXPECT_EQ(Verify({"--permission", "app.write"}, verifier_key).exit_code, 1);
  EXPECT_EQ(Verify({"--permission", "Not A Permission"}, verifier_key).exit_code, 2);
  EXPECT_EQ(Verify({"--server", "127.0.0.1:1", "--timeout", "2s"}, verifier_key).exit_code, 2);
  EXPECT_EQ(Verify({"--key-file", directory_.Child("no-such-file")}).exit_code, 2);
  EXPECT_EQ(Verify({"--no-such-flag"}).exit_code, 2);
  const std::string public_file = directory_.WriteFile("public.key", verifier_key, 0644);
  EXPECT_EQ(Run({"verify"}, public_file, verifier_key).exit_code, 2) << "credentials that others may read";
  EXPECT_EQ(Run({"verify"}, directory_.Child("no-such-file"), verifier_key).exit_code, 2);
  // A caller whose own key is refused has learnt nothing about the key in question.
  const v1::CreateKeyResponse made = dev_.AcmeOwner().MustCreate("acme", "revoked verifier", "verifier");
  ASSERT_THAT(dev_.AcmeOwner().Delete(made.key().name()), IsOk());
  const ChildProcess::Result refused =
      Run({"verify"}, directory_.WriteFile("revoked.key", made.key_string() + "\n"), verifier_key);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.error, HasSubstr("CREDENTIALS_INVALID"));
}

}  // namespace
}  // namespace latchkey::testing
