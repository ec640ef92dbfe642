#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command_line.h"
#include "client/core/key_format.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "latchkey/v1/key_admin.grpc.pb.h"

namespace latchkey::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string KeyString() {
  return core::AssembleKeyString("", "0123456789ABCDEF", "SecretSecretSecretSecretSecretSecretSecret0", '0',
                                 "00000000000");
}

// Three keys, one a page; keeps the last request of each kind.
class ScriptedKeyAdmin : public v1::KeyAdmin::Service {
 public:
  grpc::Status CreateKey(grpc::ServerContext*, const v1::CreateKeyRequest* request,
                         v1::CreateKeyResponse* response) override {
    created = *request;
    if (request->key().role() == "owner") {
      return Error(grpc::StatusCode::PERMISSION_DENIED, "role owner is above yours", "ROLE_EXCEEDS_CREATOR");
    }
    *response->mutable_key() = request->key();
    response->mutable_key()->set_name("organizations/acme/keys/0123456789ABCDEF");
    response->set_key_string(KeyString());
    return grpc::Status::OK;
  }
  grpc::Status ListKeys(grpc::ServerContext*, const v1::ListKeysRequest* request,
                        v1::ListKeysResponse* response) override {
    parents.push_back(request->parent());
    const int page = request->page_token().empty() ? 1 : std::stoi(request->page_token());
    response->add_keys()->set_display_name(absl::StrCat("Key number ", page));
    if (page < 3) response->set_next_page_token(absl::StrCat(page + 1));
    return grpc::Status::OK;
  }
  grpc::Status GetKey(grpc::ServerContext*, const v1::GetKeyRequest*, v1::Key*) override {
    return Error(grpc::StatusCode::UNAUTHENTICATED, "your key is not valid", "CREDENTIALS_INVALID");
  }
  grpc::Status ListOrganizations(grpc::ServerContext*, const v1::ListOrganizationsRequest*,
                                 v1::ListOrganizationsResponse* response) override {
    response->add_organizations()->set_name("organizations/acme");
    response->add_organizations()->set_name("organizations/globex");
    return grpc::Status::OK;
  }
  grpc::Status UpdateKey(grpc::ServerContext*, const v1::UpdateKeyRequest* request, v1::Key* response) override {
    updated = *request;
    *response = request->key();
    return grpc::Status::OK;
  }
  grpc::Status DeleteKey(grpc::ServerContext*, const v1::DeleteKeyRequest* request, v1::Key* response) override {
    deleted = *request;
    response->set_name(request->name());
    return grpc::Status::OK;
  }

  v1::CreateKeyRequest created;
  v1::UpdateKeyRequest updated;
  v1::DeleteKeyRequest deleted;
  std::vector<std::string> parents;

 private:
  static grpc::Status Error(grpc::StatusCode code, const std::string& message, const std::string& reason) {
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    google::rpc::Status details;
    details.add_details()->PackFrom(info);
    return {code, message, details.SerializeAsString()};
  }
};

class CommandTest : public ::testing::Test {
 protected:
  struct Result {
    int exit_code;
    std::string out;
    std::string err;
  };

  CommandTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "latchkey_command_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    key_file_ = directory_ + "/caller.key";
    std::ofstream(key_file_) << KeyString() << "\n";
    std::filesystem::permissions(key_file_, std::filesystem::perms(0600));
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~CommandTest() override { std::filesystem::remove_all(directory_); }

  Result Run(const std::vector<std::string>& words) {
    const std::string server = absl::StrCat("127.0.0.1:", port_);
    std::vector<const char*> argv = {"latchkey", "--server", server.c_str(), "--credentials", key_file_.c_str()};
    for (const std::string& word : words) argv.push_back(word.c_str());
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int exit_code = RunCommandLine(static_cast<int>(argv.size()), argv.data());
    std::string out = ::testing::internal::GetCapturedStdout();
    return {exit_code, std::move(out), ::testing::internal::GetCapturedStderr()};
  }

  std::string directory_;
  std::string key_file_;
  int port_ = 0;
  ScriptedKeyAdmin service_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(CommandTest, CreatePrintsTheKeyStringAloneOnStdoutAndWarnsOnStderr) {
  const Result result = Run({"keys", "create", "--organization", "acme", "--name", "CI", "--role", "editor"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, KeyString() + "\n");
  EXPECT_THAT(result.err, HasSubstr("only time"));
  EXPECT_THAT(result.err, HasSubstr("acme/0123456789ABCDEF"));
  EXPECT_THAT(result.err, Not(HasSubstr("Secret")));
}

TEST_F(CommandTest, CreateSendsWhatWasAsked) {
  Run({"keys",    "create", "--organization", "acme",   "--name",  "CI",       "--role",  "editor",
       "--owner", "ops",    "--description",  "builds", "--label", "team=web", "--label", "tier=1",
       "--ttl",   "90m",    "--request-id",   "some-id"});
  const v1::CreateKeyRequest& request = service_.created;
  EXPECT_EQ(request.parent(), "organizations/acme");
  EXPECT_EQ(request.request_id(), "some-id");
  EXPECT_EQ(request.key().display_name(), "CI");
  EXPECT_EQ(request.key().role(), "editor");
  EXPECT_EQ(request.key().owner(), "ops");
  EXPECT_EQ(request.key().description(), "builds");
  EXPECT_EQ(request.key().labels().at("team"), "web");
  EXPECT_EQ(request.key().labels().at("tier"), "1");
  EXPECT_EQ(request.key().ttl().seconds(), 5400);
}

TEST_F(CommandTest, CreateNeverExpiresUnlessAskedAndMakesARequestIdOfItsOwn) {
  Run({"keys", "create", "--organization", "acme", "--name", "CI", "--role", "editor"});
  EXPECT_EQ(service_.created.key().expiration_case(), v1::Key::EXPIRATION_NOT_SET);
  const std::string first = service_.created.request_id();
  Run({"keys", "create", "--organization", "acme", "--name", "CI", "--role", "editor"});
  EXPECT_THAT(first, ::testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(service_.created.request_id(), first);
}

TEST_F(CommandTest, CreateInJsonIsTheResponse) {
  const Result result =
      Run({"keys", "create", "--organization", "acme", "--name", "CI", "--role", "editor", "--output", "json"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr(absl::StrCat("\"keyString\": \"", KeyString(), "\"")));
  EXPECT_EQ(result.err, "");
}

TEST_F(CommandTest, ErrorOfTheServerExitsWithOneAndShowsCodeAndReason) {
  const Result result = Run({"keys", "create", "--organization", "acme", "--name", "CI", "--role", "owner"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "latchkey: role owner is above yours (PERMISSION_DENIED, ROLE_EXCEEDS_CREATOR)\n");
}

TEST_F(CommandTest, CredentialsNotAcceptedExitWithTwo) {
  const Result result = Run({"keys", "get", "acme/0123456789ABCDEF"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "latchkey: your key is not valid (UNAUTHENTICATED, CREDENTIALS_INVALID)\n");
}

TEST_F(CommandTest, CredentialsMayEndInAnyOneLineEndAndNothingElse) {
  const auto exit_code_with = [this](const std::string& credentials) {
    std::ofstream(key_file_) << credentials;
    return Run({"keys", "list", "--organization", "acme"}).exit_code;
  };
  for (const char* end : {"", "\n", "\r\n"}) EXPECT_EQ(exit_code_with(KeyString() + end), 0) << end;
  for (const char* end : {"\r", " ", " \n", "\n\n", "\r\n\n", "\r\r\n"}) {
    EXPECT_EQ(exit_code_with(KeyString() + end), 2) << end;
  }
  EXPECT_EQ(exit_code_with(" " + KeyString() + "\n"), 2);
}

TEST_F(CommandTest, ServerThatIsAwayExitsWithTwoAndSaysHowToRepeatSafely) {
  server_.reset();
  const Result result =
      Run({"keys", "create", "--organization", "acme", "--name", "CI", "--role", "editor", "--request-id", "some-id"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("(UNAVAILABLE)"));
  EXPECT_THAT(result.err, HasSubstr("--request-id some-id"));
}

TEST_F(CommandTest, ListFetchesAllPages) {
  const Result result = Run({"keys", "list", "--organization", "acme"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* name : {"Key number 1", "Key number 2", "Key number 3"}) EXPECT_THAT(result.out, HasSubstr(name));
  EXPECT_EQ(service_.parents.size(), 3u);
}

TEST_F(CommandTest, ListWithoutOrganizationListsEveryVisibleOne) {
  EXPECT_EQ(Run({"keys", "list", "--output", "json"}).exit_code, 0);
  EXPECT_THAT(service_.parents, ElementsAre("organizations/acme", "organizations/acme", "organizations/acme",
                                            "organizations/globex", "organizations/globex", "organizations/globex"));
}

TEST_F(CommandTest, RenameChangesTheDisplayNameOnly) {
  const Result result = Run({"keys", "rename", "acme/0123456789ABCDEF", "--name", "Weekly export"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("Weekly export"));
  EXPECT_EQ(service_.updated.key().name(), "organizations/acme/keys/0123456789ABCDEF");
  EXPECT_EQ(service_.updated.key().display_name(), "Weekly export");
  EXPECT_THAT(service_.updated.update_mask().paths(), ElementsAre("display_name"));
}

TEST_F(CommandTest, RevokeSendsTheReason) {
  EXPECT_EQ(Run({"keys", "revoke", "0123456789ABCDEF", "--organization", "acme", "--reason", "rotated"}).exit_code, 0);
  EXPECT_EQ(service_.deleted.name(), "organizations/acme/keys/0123456789ABCDEF");
  EXPECT_EQ(service_.deleted.reason(), v1::REASON_ROTATED);
}

TEST_F(CommandTest, MistakeOnTheCommandLineExitsWithTwoAndMakesNoCall) {
  const std::vector<std::vector<std::string>> mistakes = {
      {},
      {"keys"},
      {"keys", "frobnicate"},
      {"keys", "list", "--output", "xml"},
      {"keys", "list", "--timeout", "2m"},
      {"keys", "list", "--organization", "ACME"},
      {"keys", "revoke", "acme/0123456789ABCDEF", "--reason", "whim"},
      {"keys", "create", "--organization", "acme", "--name", "CI"},
      {"keys", "create", "--organization", "acme", "--name", "CI", "--role", "editor", "--ttl", "1d", "--expire-time",
       "2030-01-02T03:04:05Z"},
      {"keys", "create", "--organization", "acme", "--name", "CI", "--role", "editor", "--label", "a=1", "--label",
       "a=2"},
      {"orgs", "create", "Not An Id"},
      {"roles", "list"}};
  for (const auto& words : mistakes) {
    const Result result = Run(words);
    EXPECT_EQ(result.exit_code, 2) << ::testing::PrintToString(words);
    EXPECT_THAT(result.err, ::testing::StartsWith("latchkey: "));
    EXPECT_EQ(result.out, "");
  }
  EXPECT_TRUE(service_.parents.empty());
  EXPECT_EQ(service_.created.parent(), "");
  EXPECT_EQ(service_.deleted.name(), "");
}

TEST_F(CommandTest, TextThatIsNotUtf8IsAMistakeAndItsFlagIsNamed) {
  const std::string bad = "caf\xE9";
  const std::vector<std::string> create = {"keys", "create", "--organization", "acme", "--role", "editor"};
  for (const char* flag : {"--name", "--description", "--owner", "--label", "--request-id", "--ttl"}) {
    std::vector<std::string> words = create;
    if (std::string(flag) != "--name") words.insert(words.end(), {"--name", "CI"});
    words.insert(words.end(), {flag, bad});
    const Result result = Run(words);
    EXPECT_EQ(result.exit_code, 2) << flag;
    EXPECT_EQ(result.err, absl::StrCat("latchkey: ", flag, ": valid UTF-8 is wanted (see latchkey --help)\n"));
  }
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"keys", "create", "--organization", "acme", "--name", "CI", "--role", bad},
           {"keys", "list", "--organization", bad},
           {"keys", "rename", "acme/0123456789ABCDEF", "--name", bad},
           {"keys", "get", bad},
           {"orgs", "create", "acme", "--name", bad},
           {"verify", "--permission", "app.read", "--permission", bad}}) {
    const Result result = Run(words);
    EXPECT_EQ(result.exit_code, 2) << ::testing::PrintToString(words);
    EXPECT_THAT(result.err, HasSubstr(": valid UTF-8 is wanted"));
  }
  EXPECT_EQ(service_.created.parent(), "");
  EXPECT_EQ(service_.updated.key().name(), "");
}

TEST_F(CommandTest, WordThatIsNotUnderstoodIsNamed) {
  const auto error = [this](const std::vector<std::string>& words) {
    const Result result = Run(words);
    EXPECT_EQ(result.exit_code, 2);
    return result.err;
  };
  EXPECT_EQ(error({"foo"}), "latchkey: `latchkey` has no command foo (see latchkey --help)\n");
  EXPECT_EQ(error({"foo", "list"}), "latchkey: `latchkey` has no command foo (see latchkey --help)\n");
  EXPECT_EQ(error({"keys", "foo"}), "latchkey: `latchkey keys` has no command foo (see latchkey --help)\n");
  EXPECT_EQ(error({"roles", "list", "--orgs", "acme"}),
            "latchkey: `latchkey roles list` has no option --orgs (see latchkey --help)\n");
  EXPECT_EQ(error({"keys", "list", "acme"}),
            "latchkey: `latchkey keys list` does not take acme (see latchkey --help)\n");
  EXPECT_THAT(error({"keys"}), HasSubstr("subcommand is required"));
}

TEST_F(CommandTest, VersionIsACommandAndAFlag) {
  const Result command = Run({"version"});
  EXPECT_EQ(command.exit_code, 0);
  EXPECT_THAT(command.out, ::testing::MatchesRegex("latchkey [0-9.]+\n"));
  EXPECT_EQ(command.out, Run({"--version"}).out);
}

TEST_F(CommandTest, KeyStringOnTheCommandLineIsNeverRepeated) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"verify", KeyString()}, {"keys", "get", KeyString()}, {"keys", "revoke", "acme/" + KeyString()}}) {
    const Result result = Run(words);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, Not(HasSubstr("Secret")));
  }
}

}  // namespace
}  // namespace latchkey::cli
