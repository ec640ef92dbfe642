#include "server/app/dev/embedded_postgres.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/support/child_process.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace latchkey::app {
namespace {

using ::latchkey::testing::IsOk;
using ::latchkey::testing::RunSql;
using ::latchkey::testing::StartPostgres;
using ::latchkey::testing::TempDirectory;
using ::testing::HasSubstr;
using ::testing::Not;

std::string SocketDirectory(const EmbeddedPostgres& postgres) {
  return RunSql(postgres.ConnectionString(), "SHOW unix_socket_directories");
}

TEST(EmbeddedPostgres, WorksAtTheEndOfAPathLongerThanASocketsThroughAHomeThatOthersCannotEnter) {
  TempDirectory home;  // 0700, like the one below.
  const std::string deep = home.Child(std::string(200, 'd'));
  ASSERT_EQ(mkdir(deep.c_str(), 0700), 0);
  const auto postgres = StartPostgres(deep + "/postgres");
  EXPECT_EQ(RunSql(postgres->ConnectionString(), "SELECT current_database() || ' ' || current_user"),
            "latchkey latchkey");
}

TEST(EmbeddedPostgres, IsUtf8AndSortsTheSameWhateverTheLocaleOfTheMachine) {
  TempDirectory directory;
  const auto postgres = StartPostgres(directory.Child("postgres"));
  EXPECT_EQ(RunSql(postgres->ConnectionString(),
                   "SELECT pg_encoding_to_char(encoding) || ' ' || datcollate FROM pg_database "
                   "WHERE datname = current_database()"),
            "UTF8 C.UTF-8");
}

TEST(EmbeddedPostgres, ListensOnNothingButASocketInAPrivateDirectory) {
  TempDirectory directory;
  const auto postgres = StartPostgres(directory.Child("postgres"));
  EXPECT_EQ(RunSql(postgres->ConnectionString(), "SHOW listen_addresses"), "");
  struct stat status;
  ASSERT_EQ(stat(SocketDirectory(*postgres).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  ASSERT_EQ(stat(directory.Child("postgres").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  EXPECT_EQ(RunSql(postgres->ConnectionString(), "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'peer'"),
            "0");
}

TEST(EmbeddedPostgres, NeverRunsAsRoot) {
  TempDirectory directory;
  const auto postgres = StartPostgres(directory.Child("postgres"));
  struct stat status;
  ASSERT_EQ(stat(absl::StrCat("/proc/", postgres->pid()).c_str(), &status), 0);
  EXPECT_NE(status.st_uid, 0u);
}

TEST(EmbeddedPostgres, HoldsNoDescriptorOfOurs) {
  TempDirectory directory;
  int ours[2];  // Not close-on-exec, as a listening socket of a library may be.
  ASSERT_EQ(pipe(ours), 0);
  const auto postgres = StartPostgres(directory.Child("postgres"));
  close(ours[1]);
  char byte;
  // End of file at once: nobody else has the writing end. If PostgreSQL had it, this would block.
  EXPECT_EQ(read(ours[0], &byte, 1), 0);
  close(ours[0]);
}

TEST(EmbeddedPostgres, KeepsItsDataOverARestartAndLeavesNoSocketDirectory) {
  TempDirectory directory;
  std::string socket_directory;
  {
    const auto postgres = StartPostgres(directory.Child("postgres"));
    RunSql(postgres->ConnectionString(), "CREATE TABLE t AS SELECT 42 AS answer");
    socket_directory = SocketDirectory(*postgres);
  }
  EXPECT_FALSE(std::filesystem::exists(socket_directory));
  const auto postgres = StartPostgres(directory.Child("postgres"));
  EXPECT_EQ(RunSql(postgres->ConnectionString(), "SELECT answer FROM t"), "42");
}

TEST(EmbeddedPostgres, CommitsSurviveAKillAndConnectionStringsStayGood) {
  TempDirectory directory;
  const auto postgres = StartPostgres(directory.Child("postgres"));
  const std::string connection = postgres->ConnectionString();
  RunSql(connection, "CREATE TABLE t AS SELECT 42 AS answer");
  for (const int signal : {SIGKILL, SIGQUIT}) {
    postgres->Signal(signal);
    ASSERT_THAT(postgres->Restart(), IsOk());
    EXPECT_EQ(RunSql(connection, "SELECT answer FROM t"), "42");
  }
}

// A process that starts one and is killed is this program itself, run with the test's name below.
TEST(EmbeddedPostgres, DISABLED_HoldsOneUntilItIsKilled) {
  const auto postgres = StartPostgres(getenv("LATCHKEY_TEST_DIRECTORY"));
  printf("\nrunning %d %s\n", postgres->pid(), SocketDirectory(*postgres).c_str());
  fflush(stdout);
  pause();
}

TEST(EmbeddedPostgres, WhatAKilledProcessLeftIsStoppedAndRemovedByTheNext) {
  TempDirectory directory;
  const std::string data = directory.Child("postgres");
  std::string socket_directory;
  pid_t postmaster = 0;
  {
    testing::ChildProcess holder({.arguments = {"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                                "--gtest_filter=EmbeddedPostgres.DISABLED_HoldsOneUntilItIsKilled"},
                                  .environment = {"LATCHKEY_TEST_DIRECTORY=" + data}});
    const std::optional<std::string> line = holder.ReadLineStartingWith("running ", absl::Seconds(60));
    ASSERT_TRUE(line.has_value()) << holder.output() << holder.error();
    int pid = 0;
    char path[100] = "";
    ASSERT_EQ(sscanf(line->c_str(), "running %d %99s", &pid, path), 2);
    socket_directory = path;
    // Frozen, so that its parent's death cannot make it end before the next one looks: that one asks it to stop, and
    // the thread below lets it go on.
    ASSERT_EQ(kill(pid, SIGSTOP), 0);
    postmaster = pid;
    holder.Signal(SIGKILL);
    ASSERT_EQ(holder.WaitFor(absl::Seconds(60)), 128 + SIGKILL);
  }
  // A stopped process keeps its signals for later; it may go on before or after it is asked to stop.
  std::thread thaw([postmaster] { kill(postmaster, SIGCONT); });
  const auto postgres = StartPostgres(data);
  thaw.join();
  EXPECT_EQ(RunSql(postgres->ConnectionString(), "SELECT 1"), "1");
  EXPECT_NE(SocketDirectory(*postgres), socket_directory);
  EXPECT_FALSE(std::filesystem::exists(socket_directory));
}

TEST(EmbeddedPostgres, AHalfMadeDataDirectoryIsMadeAgain) {
  TempDirectory directory;
  const std::string half_made = directory.Child("postgres.new");
  ASSERT_EQ(mkdir(half_made.c_str(), 0700), 0);
  directory.WriteFile("postgres.new/PG_VERSION", "15\n");
  const auto postgres = StartPostgres(directory.Child("postgres"));
  EXPECT_EQ(RunSql(postgres->ConnectionString(), "SELECT 1"), "1");
  EXPECT_FALSE(std::filesystem::exists(half_made));
}

TEST(EmbeddedPostgres, LeavesAForeignDirectoryAlone) {
  TempDirectory directory;
  ASSERT_EQ(mkdir(directory.Child("postgres").c_str(), 0700), 0);
  directory.WriteFile("postgres/thesis.txt", "years of work");
  const auto postgres = EmbeddedPostgres::Start({.directory = directory.Child("postgres"), .durable = false});
  ASSERT_THAT(postgres, Not(IsOk()));
  EXPECT_THAT(std::string(postgres.status().message()), HasSubstr("not a PostgreSQL data directory"));
  EXPECT_EQ(testing::ReadFile(directory.Child("postgres/thesis.txt")), "years of work");
}

TEST(EmbeddedPostgres, AStartThatFailsShowsWhatPostgresSaid) {
  TempDirectory directory;
  const auto postgres = EmbeddedPostgres::Start(
      {.directory = directory.Child("postgres"), .durable = false, .extra_settings = "no_such_setting = on"});
  ASSERT_THAT(postgres, Not(IsOk()));
  EXPECT_THAT(std::string(postgres.status().message()), HasSubstr("no_such_setting"));
}

TEST(EmbeddedPostgres, ItsLogHoldsNoValuesOfRows) {
  TempDirectory directory;
  const auto postgres = StartPostgres(directory.Child("postgres"));
  RunSql(postgres->ConnectionString(),
         "CREATE TABLE t (v text UNIQUE); INSERT INTO t VALUES ('can' || 'ary');"
         "CREATE FUNCTION again() RETURNS void LANGUAGE sql AS $$INSERT INTO t SELECT v FROM t$$;"
         "DO $$BEGIN PERFORM again(); EXCEPTION WHEN OTHERS THEN RAISE LOG USING MESSAGE = 'refused'; END$$");
  const std::string failing = absl::StrCat(postgres->ConnectionString(), " options='-c client_min_messages=error'");
  EXPECT_NONFATAL_FAILURE(RunSql(failing, "SELECT again()"), "duplicate key");
  const std::string log = testing::ReadFile(directory.Child("postgres/postgres.log"));
  EXPECT_THAT(log, HasSubstr("duplicate key"));
  EXPECT_THAT(log, Not(HasSubstr("canary")));
}

}  // namespace
}  // namespace latchkey::app
