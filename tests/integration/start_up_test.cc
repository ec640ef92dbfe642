// Starting, stopping and being killed: `latchkeyd dev` over its data directory, and what may stand in the way.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::vector<std::string> kCheap = {"--hash-profile", "random-key"};

unsigned PermissionsOf(const std::string& path) {
  struct stat about {};
  EXPECT_EQ(stat(path.c_str(), &about), 0) << path;
  return about.st_mode & 0777;
}

// The postmasters whose data directory this is, zombies left out.
std::vector<pid_t> PostmastersOf(const std::string& data_directory) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    int pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    std::error_code error;
    const fs::path data = fs::read_symlink(entry.path() / "fd" / "3", error);
    if (error || data != data_directory + "/postgres") continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string command((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (absl::StrContains(command, "bin/postgres") && absl::StrContains(command, "-D")) found.push_back(pid);
  }
  return found;
}

// One line on stderr from latchkeyd itself, beside the JSON of its log.
void ExpectOneLine(const ChildProcess::Result& result, int exit_code, const std::string& part) {
  EXPECT_EQ(result.exit_code, exit_code) << result.error;
  std::vector<std::string> lines = absl::StrSplit(result.error, '\n', absl::SkipEmpty());
  EXPECT_EQ(lines.size(), 1u) << result.error;
  EXPECT_THAT(result.error, StartsWith("latchkeyd: "));
  EXPECT_THAT(result.error, HasSubstr(part));
}

ChildProcess::Result RunDev(const std::string& data_directory, const std::string& listen = "127.0.0.1:0") {
  return RunLatchkeyd({"dev", "--data-dir", data_directory, "--hash-profile", "random-key", "--listen", listen});
}

TEST(StartUp, TheFirstStartMakesPrivateFilesAndTheNextOneServesTheSameKeys) {
  const TempDirectory home;  // 0700.
  // A Unix socket's path ends at 107 bytes; so does nothing of ours.
  const std::string data = home.Child(std::string(200 - home.path().size() - 1, 'd'));
  ASSERT_EQ(data.size(), 200u);
  std::string key_string;
  std::string kept_name;
  std::string deleted_key;
  {
    // At its full cost once; and with no LANG, which ChildProcess passes on to nobody.
    DevServer dev(data, {"--hash-profile", "owasp"});
    ASSERT_TRUE(dev.server().listens());
    EXPECT_EQ(PermissionsOf(data), 0700u);
    for (const char* file : {"/system.key", "/acme.key", "/verifier.key", "/keyring.json"}) {
      EXPECT_EQ(PermissionsOf(data + file), 0600u) << file;
    }
    for (const char* name : {"system", "acme", "verifier"}) {
      EXPECT_EQ(ReadFile(dev.KeyFile(name)), dev.Key(name) + "\n");
    }
    const std::string output = dev.server().process().output();
    EXPECT_THAT(output, StartsWith("latchkey ready on " + dev.server().address() + "\n"));
    for (const char* paste : {"grpcurl", "-expand-headers", "buf curl", "latchkey", " --server "}) {
      EXPECT_THAT(output, HasSubstr(paste));
    }
    const RpcClient owner = dev.AcmeOwner();
    const v1::CreateKeyResponse made = owner.MustCreate("acme", "survives", "editor");
    key_string = made.key_string();
    kept_name = made.key().name();
    const v1::CreateKeyResponse gone = owner.MustCreate("acme", "does not", "editor");
    ASSERT_THAT(owner.Delete(gone.key().name()), IsOk());
    deleted_key = gone.key_string();
    ASSERT_EQ(PostmastersOf(data).size(), 1u);
    EXPECT_EQ(dev.server().Terminate(), 0);
    EXPECT_TRUE(PostmastersOf(data).empty());
  }
  DevServer dev(data, {"--hash-profile", "owasp"});
  ASSERT_TRUE(dev.server().listens());
  EXPECT_EQ(dev.Verifier().Decide(key_string), v1::DECISION_ALLOWED);
  EXPECT_EQ(dev.Verifier().Decide(deleted_key), v1::DECISION_REVOKED);
  EXPECT_EQ(dev.AcmeOwner().Get(kept_name)->display_name(), "survives");
  EXPECT_EQ(dev.server().Terminate(), 0);
}

TEST(StartUp, ASecondServerOnTheSameDataDirectoryIsTurnedAwayAndTheFirstGoesOn) {
  DevServer& dev = SharedDevServer();
  ExpectOneLine(RunDev(dev.data_directory()), 75, dev.data_directory());
  EXPECT_EQ(dev.Verifier().Decide(dev.Key("acme")), v1::DECISION_ALLOWED);
}

TEST(StartUp, APortInUseIsOneClearLine) {
  const TempDirectory directory;
  const std::string address = SharedDevServer().server().address();
  ExpectOneLine(RunLatchkeyd({"serve", "--database-url-file", directory.WriteFile("url", "dbname=x\n"), "--keyring",
                              SharedDevServer().data_directory() + "/keyring.json", "--listen", address}),
                69, address);
}

TEST(StartUp, APlaintextListenerOffLoopbackIsRefused) {
  const TempDirectory directory;
  for (const char* address : {"0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "example.com:50051"}) {
    ExpectOneLine(RunDev(directory.Child("data"), address), 64, "loopback");
  }
  for (const char* address : {"127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ""}) {
    ExpectOneLine(RunDev(directory.Child("data"), address), 64, "--listen");
  }
  EXPECT_FALSE(fs::exists(directory.Child("data"))) << "nothing was made";
}

TEST(StartUp, AKilledServersPostgresIsReplacedByTheNextStart) {
  const TempDirectory directory;
  const std::string data = directory.Child("data");
  std::string key_string;
  {
    DevServer dev(data);
    ASSERT_TRUE(dev.server().listens());
    key_string = dev.AcmeOwner().MustCreate("acme", "acknowledged", "viewer").key_string();
    dev.server().Kill();
  }
  DevServer dev(data);
  ASSERT_TRUE(dev.server().listens());
  EXPECT_EQ(PostmastersOf(data).size(), 1u);
  EXPECT_EQ(dev.Verifier().Decide(key_string), v1::DECISION_ALLOWED);
  EXPECT_EQ(dev.server().Terminate(), 0);
  EXPECT_TRUE(PostmastersOf(data).empty());
}

TEST(StartUp, AWrongOrMissingKeyRingIsOneClearLine) {
  const TempDirectory directory;
  const std::string data = directory.Child("data");
  { DevServer dev(data); }
  const std::string ring = ReadFile(data + "/keyring.json");
  ASSERT_EQ(rename((data + "/keyring.json").c_str(), directory.Child("kept.json").c_str()), 0);
  ExpectOneLine(RunDev(data), 78, "keyring.json");
  EXPECT_FALSE(fs::exists(data + "/keyring.json")) << "a new ring would lock everybody out";

  ASSERT_EQ(RunLatchkeyd({"keyring", "init", "--keyring", data + "/keyring.json"}).exit_code, 0);
  ExpectOneLine(RunDev(data), 78, "wrong key ring");
  std::ofstream(data + "/keyring.json", std::ios::trunc) << "{\"latchkey_key_ring\": 1, \"secrets\": []}\n";
  ExpectOneLine(RunDev(data), 78, "key ring");
  EXPECT_TRUE(PostmastersOf(data).empty());

  std::ofstream(data + "/keyring.json", std::ios::trunc) << ring;
  ASSERT_EQ(chmod((data + "/keyring.json").c_str(), 0644), 0);
  ExpectOneLine(RunDev(data), 78, "keyring.json");
  ASSERT_EQ(chmod((data + "/keyring.json").c_str(), 0600), 0);
  DevServer dev(data);
  ASSERT_TRUE(dev.server().listens());
  EXPECT_EQ(dev.Verifier().Decide(dev.Key("acme")), v1::DECISION_ALLOWED) << "with the right one all is as before";
}

TEST(StartUp, PostgresThatDiesUnderDevIsStartedAgain) {
  const TempDirectory directory;
  const std::string data = directory.Child("data");
  DevServer dev(data);
  ASSERT_TRUE(dev.server().listens());
  const std::vector<pid_t> before = PostmastersOf(data);
  ASSERT_EQ(before.size(), 1u);
  ASSERT_EQ(kill(before[0], SIGKILL), 0);
  ASSERT_TRUE(Eventually(kStartPatience, [&] {
    const std::vector<pid_t> now = PostmastersOf(data);
    return now.size() == 1 && now != before;
  }));
  EXPECT_TRUE(
      Eventually(kStartPatience, [&] { return dev.AcmeOwner().Create("acme", "after the crash", "viewer").ok(); }));
}

TEST(StartUp, WrongFlagsAreUsageErrors) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"no-such-command"},
                                             {"dev", "--no-such-flag"},
                                             {"dev", "--hash-profile", "cheap"},
                                             {"dev", "--label", "Not A Label"},
                                             {"dev", "--doorbell", "bell"},
                                             {"dev", "--proofs", "none"},
                                             {"accept-history", "--database-url-file", "/no/url"},
                                             {"accept-history", "--state-dir", "/no/directory"},
                                             {"set-bound", "--database-url-file", "/no/url"},
                                             {"set-bound", "--seconds", "5"},
                                             {"replicas"},
                                             {"serve"},
                                             {"serve", "--keyring", "/dev/null"},
                                             {"keyring"},
                                             {"bootstrap"},
                                             {"migrate"}}) {
    ExpectOneLine(RunLatchkeyd(arguments), 64, "latchkeyd --help");
  }
}

TEST(StartUp, ConfigFilesAreReadAndTheirMistakesAreUsageErrors) {
  const TempDirectory directory;
  const std::string good = directory.WriteFile("good.toml",
                                               "[serve]\nkeyring=\"/no/ring\"\ndatabase-url-file=\"/no/url\"\n"
                                               "[dev]\ndata-dir=\"/no/where\"\n");
  // Both flags come from the file, wherever --config stands, and the other subcommand's section is no mistake.
  ExpectOneLine(RunLatchkeyd({"serve", "--config", good}), 78, "/no/ring");
  ExpectOneLine(RunLatchkeyd({"--config", good, "serve"}), 78, "/no/ring");
  ExpectOneLine(RunLatchkeyd({"--config", good, "serve", "--keyring", "/mine"}), 78, "/mine");
  for (const char* bad : {"[serve]\nlistenn=\"x\"\n", "listen=\"127.0.0.1:0\"\n", "[serve\nx\n"}) {
    const std::string file = directory.WriteFile("bad.toml", bad);
    ExpectOneLine(RunLatchkeyd({"--config", file, "serve", "--keyring", "/k", "--database-url-file", "/d"}), 64,
                  "latchkeyd --help");
  }
}

TEST(StartUp, DevRefusesDataWhoseHistoryIsNotTheOneItFollowedAndSaysWhatToDo) {
  const TempDirectory directory;
  const std::string data = directory.Child("data");
  {
    DevServer dev(data);
    ASSERT_TRUE(dev.server().listens());
    EXPECT_EQ(dev.server().Terminate(), 0);
  }
  const std::string position = data + "/state/position";
  const std::string kept = ReadFile(position);
  ASSERT_THAT(kept, StartsWith("latchkey position 1\nrevision "));
  std::string other = kept;
  other[other.size() - 2] = other[other.size() - 2] == '0' ? '1' : '0';
  std::ofstream(position, std::ios::trunc) << other;
  const ChildProcess::Result refused = RunDev(data);
  EXPECT_EQ(refused.exit_code, 78) << refused.error;
  EXPECT_THAT(refused.error, HasSubstr("latchkeyd: the database has another history"));
  EXPECT_THAT(refused.error, HasSubstr("remove " + position));
  EXPECT_EQ(ReadFile(position), other);
  ASSERT_EQ(unlink(position.c_str()), 0);
  DevServer dev(data);
  EXPECT_TRUE(dev.server().listens());
}

TEST(StartUp, ADataDirectoryThatOthersCanWriteIsRefused) {
  const TempDirectory directory;
  ASSERT_EQ(mkdir(directory.Child("open").c_str(), 0700), 0);
  ASSERT_EQ(chmod(directory.Child("open").c_str(), 0777), 0);
  ExpectOneLine(RunDev(directory.Child("open"), "127.0.0.1:0"), 73, "others");
}

TEST(StartUp, VersionAndHelpSucceed) {
  const ChildProcess::Result version = RunLatchkeyd({"version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.output, StartsWith("latchkeyd "));
  const ChildProcess::Result help = RunLatchkeyd({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, HasSubstr("bootstrap"));
}

TEST(StartUp, KeyringInitNeverOverwrites) {
  const TempDirectory directory;
  const std::string path = directory.Child("keyring.json");
  ASSERT_EQ(RunLatchkeyd({"keyring", "init", "--keyring", path}).exit_code, 0);
  EXPECT_EQ(PermissionsOf(path), 0600u);
  const std::string first = ReadFile(path);
  ExpectOneLine(RunLatchkeyd({"keyring", "init", "--keyring", path}), 73, path);
  EXPECT_EQ(ReadFile(path), first);
}

TEST(StartUp, BootstrapMakesTheFirstOwnerOnlyOnce) {
  const Installation installation(FreshDatabase());
  EXPECT_EQ(PermissionsOf(installation.directory().Child("system.key")), 0600u);
  const std::string second = installation.directory().Child("second.key");
  ExpectOneLine(RunLatchkeyd({"bootstrap", "--database-url-file", installation.database_url_file(), "--keyring",
                              installation.keyring_file(), "--out", second}),
                78, "owner");
  EXPECT_FALSE(fs::exists(second));
  RunningServer server(installation.Serve());
  ASSERT_TRUE(server.WaitUntilServing());
  const RpcClient system = server.As(installation.system_key());
  EXPECT_EQ(system.Decide(installation.system_key()), v1::DECISION_ALLOWED);
  ASSERT_THAT(system.CreateOrganization("acme"), IsOk());
  EXPECT_THAT(system.Create("acme", "first owner", "owner"), IsOk());
  EXPECT_EQ(server.Terminate(), 0);
}

TEST(StartUp, BootstrapNeverOverwritesAFile) {
  const TempDirectory directory;
  const std::string url = directory.WriteFile("url", FreshDatabase() + "\n");
  const std::string ring = directory.Child("keyring.json");
  ASSERT_EQ(RunLatchkeyd({"keyring", "init", "--keyring", ring}).exit_code, 0);
  const std::string out = directory.WriteFile("thesis", "years of work");
  ExpectOneLine(RunLatchkeyd({"bootstrap", "--database-url-file", url, "--keyring", ring, "--out", out}), 73, out);
  EXPECT_EQ(ReadFile(out), "years of work");
  const std::string fresh = directory.Child("system.key");
  EXPECT_EQ(RunLatchkeyd({"bootstrap", "--database-url-file", url, "--keyring", ring, "--out", fresh}).exit_code, 0)
      << "what failed did not use up the one bootstrap";
}

TEST(StartUp, MigrateIsIdempotentAndServeWithoutItSaysSo) {
  const TempDirectory directory;
  const std::string url = directory.WriteFile("url", FreshDatabase() + "\n");
  const std::string ring = directory.Child("keyring.json");
  ASSERT_EQ(RunLatchkeyd({"keyring", "init", "--keyring", ring}).exit_code, 0);
  const ChildProcess::Result refused =
      RunLatchkeyd({"serve", "--no-migrate", "--database-url-file", url, "--keyring", ring, "--listen", "127.0.0.1:0"});
  EXPECT_EQ(refused.exit_code, 78) << refused.error;
  EXPECT_THAT(refused.error, HasSubstr("latchkeyd migrate"));
  for (int i = 0; i < 2; ++i) {
    const ChildProcess::Result migrated = RunLatchkeyd({"migrate", "--database-url-file", url});
    EXPECT_EQ(migrated.exit_code, 0) << migrated.error;
    EXPECT_THAT(migrated.output, StartsWith("schema version "));
  }
  RunningServer server({"serve", "--no-migrate", "--database-url-file", url, "--keyring", ring});
  EXPECT_TRUE(server.WaitUntilServing());
}

TEST(StartUp, ServeWithAWrongKeyRingEnds) {
  const Installation installation(FreshDatabase());
  const std::string other = installation.directory().Child("other.json");
  ASSERT_EQ(RunLatchkeyd({"keyring", "init", "--keyring", other}).exit_code, 0);
  const ChildProcess::Result result = RunLatchkeyd({"serve", "--database-url-file", installation.database_url_file(),
                                                    "--keyring", other, "--listen", "127.0.0.1:0"});
  EXPECT_EQ(result.exit_code, 78) << result.error;
  EXPECT_THAT(result.error, HasSubstr("latchkeyd: wrong key ring"));
}

TEST(StartUp, SeveralServersMayStartTogetherOnAnEmptyDatabase) {
  const TempDirectory directory;
  const std::string url = directory.WriteFile("url", FreshDatabase() + "\n");
  const std::string ring = directory.Child("keyring.json");
  ASSERT_EQ(RunLatchkeyd({"keyring", "init", "--keyring", ring}).exit_code, 0);
  const std::vector<std::string> serve = {"serve", "--database-url-file", url, "--keyring", ring};
  RunningServer one(serve);
  RunningServer two(serve);
  RunningServer three(serve);
  for (RunningServer* server : {&one, &two, &three}) {
    EXPECT_TRUE(server->WaitUntilServing()) << server->process().error();
  }
}

}  // namespace
}  // namespace latchkey::testing
