#include "tests/support/postgres_standby.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/temp_directory.h"

namespace latchkey::testing {
namespace {

constexpr char kPrograms[] = "/usr/lib/postgresql/15/bin/";
constexpr absl::Duration kPatience = absl::Seconds(60);

}  // namespace

void PostgresStandby::LetStandbysIn(const std::string& data_directory) {
  std::ofstream file(data_directory + "/pg_hba.conf", std::ios::app);
  file << "local replication all peer map=latchkey\n";
  file.close();
  EXPECT_TRUE(file.good()) << "cannot write pg_hba.conf in " << data_directory;
}

PostgresStandby::PostgresStandby(std::string primary)
    : primary_(std::move(primary)), directory_("/tmp/latchkey-standby-XXXXXX") {
  if (mkdtemp(directory_.data()) == nullptr) {
    perror("mkdtemp");
    abort();
  }
  if (geteuid() != 0) return;
  const passwd* const entry = getpwnam("postgres");
  if (entry == nullptr || chown(directory_.c_str(), entry->pw_uid, entry->pw_gid) != 0) {
    perror("postgres");
    abort();
  }
  user_ = app::ChildProcess::User{entry->pw_uid, entry->pw_gid};
}

PostgresStandby::~PostgresStandby() {
  if (process_ != nullptr) {
    process_->Signal(SIGQUIT);
    process_->WaitFor(kPatience);
  }
  process_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

absl::StatusOr<std::unique_ptr<PostgresStandby>> PostgresStandby::Start(const std::string& primary, int port) {
  std::unique_ptr<PostgresStandby> standby(new PostgresStandby(primary));
  absl::Status status = standby->Copy();
  if (status.ok()) status = standby->Launch(port);
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat(std::string(status.message()), ": ", standby->Log()));
  }
  return standby;
}

app::ChildProcess::Command PostgresStandby::Command(std::vector<std::string> arguments) const {
  app::ChildProcess::Command command;
  command.arguments = std::move(arguments);
  command.environment = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC"};
  command.run_as = user_;
  command.file_mask = 077;
  return command;
}

absl::Status PostgresStandby::Copy() {
  const int log = open(absl::StrCat(directory_, "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string socket = SocketOf(primary_);
  app::ChildProcess::Command command = Command(
      {absl::StrCat(kPrograms, "pg_basebackup"), "-D", directory_ + "/data", "-h", socket.substr(0, socket.rfind('/')),
       "-p", socket.substr(socket.rfind('.') + 1), "-U", "latchkey", "-w", "-X", "stream", "-c", "fast", "--no-sync"});
  command.output = command.error = log;
  absl::StatusOr<std::unique_ptr<app::ChildProcess>> copy = app::ChildProcess::Start(std::move(command));
  close(log);
  if (!copy.ok()) return copy.status();
  if ((*copy)->WaitFor(kPatience) != 0) return absl::InternalError("pg_basebackup failed");
  return absl::OkStatus();
}

absl::Status PostgresStandby::Launch(int port) {
  const std::string data = directory_ + "/data";
  std::ofstream(data + "/standby.signal").close();
  const int log = open(absl::StrCat(directory_, "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  app::ChildProcess::Command command = Command(
      {absl::StrCat(kPrograms, "postgres"), "-D", data, "-c", "listen_addresses=", "-c",
       absl::StrCat("unix_socket_directories=", directory_), "-c", "unix_socket_permissions=0700", "-c", "port=5432",
       "-c", "logging_collector=off", "-c", "hot_standby=on", "-c", "wal_retrieve_retry_interval=100ms", "-c",
       absl::StrCat("primary_conninfo=host=127.0.0.1 port=", port,
                    " user=latchkey sslmode=disable gssencmode=disable")});
  command.output = command.error = log;
  command.death_signal = SIGQUIT;
  absl::StatusOr<std::unique_ptr<app::ChildProcess>> process = app::ChildProcess::Start(std::move(command));
  close(log);
  if (!process.ok()) return process.status();
  process_ = *std::move(process);
  for (const absl::Time give_up = absl::Now() + kPatience; absl::Now() < give_up;) {
    if (PQping(ConnectionString().c_str()) == PQPING_OK) return absl::OkStatus();
    if (process_->WaitFor(absl::Milliseconds(20)).has_value()) return absl::InternalError("the standby ended");
  }
  return absl::InternalError("the standby does not answer");
}

std::string PostgresStandby::ConnectionString() const {
  return absl::StrCat("host=", directory_, " port=5432 user=latchkey dbname=latchkey");
}

bool PostgresStandby::WaitUntilItHasAllOf(const std::string& primary) const {
  const std::string end = RunSql(primary, "SELECT pg_current_wal_lsn()");
  for (const absl::Time give_up = absl::Now() + kPatience; absl::Now() < give_up;) {
    if (RunSql(ConnectionString(), absl::StrCat("SELECT pg_last_wal_replay_lsn() >= '", end, "'")) == "t") return true;
    absl::SleepFor(absl::Milliseconds(20));
  }
  return false;
}

void PostgresStandby::Promote() const {
  EXPECT_EQ(RunSql(ConnectionString(), "SELECT pg_promote(true, 60)"), "t") << Log();
}

std::string PostgresStandby::Log() const {
  std::string log = ReadFile(directory_ + "/log");
  return log.size() <= 4000 ? log : log.substr(log.size() - 4000);
}

}  // namespace latchkey::testing
