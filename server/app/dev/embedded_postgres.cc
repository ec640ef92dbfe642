#include "server/app/dev/embedded_postgres.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/app/dev/directory_files.h"
#include "server/app/dev/postgres_leftovers.h"

namespace latchkey::app {
namespace {

constexpr char kPrograms[] = "/usr/lib/postgresql/15/bin";
constexpr char kVersion[] = "15";
constexpr char kDataAsSeenByChild[] = "/proc/self/fd/3";
constexpr char kSocketRecord[] = "latchkey.socket";
constexpr char kLog[] = "postgres.log";
constexpr off_t kLogLimit = 10 << 20;
// Crash recovery of a large log of changes may take long; a PostgreSQL that fails exits and is not waited for.
constexpr absl::Duration kStartPatience = absl::Minutes(10);

std::string LastLines(const std::string& text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipWhitespace());
  const size_t first = lines.size() > 5 ? lines.size() - 5 : 0;
  std::string last;
  for (size_t i = first; i < lines.size(); ++i) absl::StrAppend(&last, i == first ? "" : " | ", lines[i]);
  return last.empty() ? "it wrote nothing to its log" : last;
}

std::string ReadFrom(int file, off_t offset) {
  struct stat status;
  if (fstat(file, &status) != 0) return "";
  if (status.st_size - offset > 65536) offset = status.st_size - 65536;
  std::string text(65536, '\0');
  const ssize_t size = pread(file, text.data(), text.size(), offset);
  text.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return text;
}

absl::StatusOr<int> OpenDirectory(const std::string& path) {
  const int directory = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0) return SystemError("open " + path);
  return directory;
}

absl::StatusOr<std::string> NameOfUser(uid_t uid) {
  errno = 0;
  const passwd* entry = getpwuid(uid);
  if (entry == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("user id ", uid, " has no name in /etc/passwd: PostgreSQL's peer authentication needs one"));
  }
  return std::string(entry->pw_name);
}

std::string SixRandomCharacters() {
  static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
  unsigned char bytes[6] = {};
  if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) return "";
  std::string text;
  for (const unsigned char byte : bytes) text.push_back(kAlphabet[byte % 32]);
  return text;
}

// A value of a libpq connection string.
std::string Quoted(const std::string& value) {
  return absl::StrCat("'", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddedPostgres>> EmbeddedPostgres::Start(Options options) {
  std::unique_ptr<EmbeddedPostgres> postgres(new EmbeddedPostgres(std::move(options)));
  for (const auto step : {&EmbeddedPostgres::ChooseUser, &EmbeddedPostgres::MakeData, &EmbeddedPostgres::OpenData,
                          &EmbeddedPostgres::WriteSettings, &EmbeddedPostgres::MakeSocketDirectory,
                          &EmbeddedPostgres::Launch, &EmbeddedPostgres::MakeDatabase}) {
    const absl::Status status = (postgres.get()->*step)();
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("the embedded PostgreSQL in ", postgres->options_.directory,
                                                      " cannot start: ", status.message()));
    }
  }
  return postgres;
}

EmbeddedPostgres::~EmbeddedPostgres() {
  if (directory_ < 0) return;
  Stop();
  if (!socket_directory_.empty()) RemoveSocketDirectory(socket_directory_, uid_);
  unlinkat(directory_, kSocketRecord, 0);
  close(directory_);
}

absl::Status EmbeddedPostgres::ChooseUser() {
  for (const char* program : {"initdb", "postgres"}) {
    if (access(absl::StrCat(kPrograms, "/", program).c_str(), X_OK) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(kPrograms, "/", program, " is missing: install the Debian package postgresql-15"));
    }
  }
  uid_ = geteuid();
  gid_ = getegid();
  if (uid_ == 0) {
    const passwd* entry = getpwnam("postgres");
    if (entry == nullptr || entry->pw_uid == 0) {
      return absl::FailedPreconditionError(
          "PostgreSQL does not run as root and there is no system user `postgres`: install the Debian package "
          "postgresql-15");
    }
    uid_ = entry->pw_uid;
    gid_ = entry->pw_gid;
  }
  absl::StatusOr<std::string> name = NameOfUser(uid_);
  if (!name.ok()) return name.status();
  user_ = *std::move(name);
  return absl::OkStatus();
}

ChildProcess::Command EmbeddedPostgres::Command(std::vector<std::string> arguments, int directory) const {
  ChildProcess::Command command;
  command.arguments = std::move(arguments);
  command.environment = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC"};
  command.extra = directory;
  command.file_mask = 077;
  if (geteuid() == 0) command.run_as = ChildProcess::User{uid_, gid_};
  return command;
}

absl::Status EmbeddedPostgres::MakeData() {
  namespace fs = std::filesystem;
  std::error_code error;
  const bool exists = fs::exists(options_.directory, error);
  // The data directory gets its name when it is complete, so one that has the name is.
  if (exists && !fs::is_empty(options_.directory, error)) return absl::OkStatus();

  const std::string stage = options_.directory + ".new";
  if (absl::StatusOr<int> half_done = OpenDirectory(stage); half_done.ok()) {
    StopPostgresProcessesIn(*half_done, uid_);
    close(*half_done);
    fs::remove_all(stage, error);
    if (error) return absl::InternalError(absl::StrCat("remove the half-made ", stage, ": ", error.message()));
  }
  if (mkdir(stage.c_str(), 0700) != 0) return SystemError("make " + stage);
  if (lchown(stage.c_str(), uid_, gid_) != 0) return SystemError("give " + stage + " to " + user_);
  absl::StatusOr<int> opened = OpenDirectory(stage);
  if (!opened.ok()) return opened.status();

  const int output = memfd_create("initdb", MFD_CLOEXEC);
  ChildProcess::Command command =
      Command({absl::StrCat(kPrograms, "/initdb"), "-D", kDataAsSeenByChild, "--locale=C.UTF-8", "--encoding=UTF8",
               "--auth-local=peer", "--auth-host=reject", "-U", "latchkey"},
              *opened);
  if (!options_.durable) command.arguments.push_back("--no-sync");
  command.output = output;
  command.error = output;
  absl::Status made;
  if (absl::StatusOr<std::unique_ptr<ChildProcess>> initdb = ChildProcess::Start(std::move(command)); !initdb.ok()) {
    made = initdb.status();
  } else {
    const std::optional<int> status = (*initdb)->WaitFor(absl::Minutes(10));
    if (status != 0) {
      made = absl::InternalError(absl::StrCat("initdb: ", status ? DescribeWaitStatus(*status) : "still running", ": ",
                                              LastLines(ReadFrom(output, 0))));
    }
  }
  close(output);
  if (made.ok()) {
    const std::string settings = ReadFileIn(*opened, "postgresql.conf") + "\ninclude 'latchkey.conf'\n";
    made = WriteFileIn(*opened, "postgresql.conf", settings, uid_, gid_);
  }
  close(*opened);
  if (!made.ok()) return made;
  if (rename(stage.c_str(), options_.directory.c_str()) != 0) return SystemError("rename " + stage);
  absl::StatusOr<int> parent = OpenDirectory(fs::path(options_.directory).parent_path());
  if (parent.ok()) {
    fsync(*parent);
    close(*parent);
  }
  return absl::OkStatus();
}

absl::Status EmbeddedPostgres::OpenData() {
  absl::StatusOr<int> opened = OpenDirectory(options_.directory);
  if (!opened.ok()) return opened.status();
  directory_ = *opened;
  const std::string version = ReadFileIn(directory_, "PG_VERSION");
  if (version.empty()) return absl::FailedPreconditionError("it is not empty and not a PostgreSQL data directory");
  if (absl::StripAsciiWhitespace(version) != kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("it is of PostgreSQL ", absl::StripAsciiWhitespace(version), ", this is ", kVersion));
  }
  struct stat status;
  if (fstat(directory_, &status) != 0) return SystemError("stat");
  if (status.st_uid != uid_) {
    return absl::FailedPreconditionError(absl::StrCat("it belongs to user id ", status.st_uid,
                                                      ", but PostgreSQL would run as ", user_, " (", uid_, ")"));
  }
  StopLeftovers();
  const std::string record(absl::StripAsciiWhitespace(ReadFileIn(directory_, kSocketRecord)));
  RemoveSocketDirectory(record, uid_);
  return absl::OkStatus();
}

absl::Status EmbeddedPostgres::WriteSettings() {
  absl::StatusOr<std::string> us = NameOfUser(geteuid());
  if (!us.ok()) return us.status();
  std::string ident = absl::StrCat("latchkey \"", user_, "\" latchkey\n");
  if (*us != user_) absl::StrAppend(&ident, "latchkey \"", *us, "\" latchkey\n");
  // terse: the details of an error hold values of rows. Without fsync a commit still reaches the kernel before it is
  // acknowledged, so only a crash of the machine loses it; synchronous_commit=off would lose it with the process.
  const std::string settings =
      absl::StrCat("# Written by latchkeyd at every start.\n",
                   "max_connections = 64\nshared_buffers = 64MB\nmax_wal_size = 256MB\njit = off\n",
                   "log_error_verbosity = terse\nlog_parameter_max_length = 0\nlog_parameter_max_length_on_error = 0\n",
                   "log_timezone = 'UTC'\ntimezone = 'UTC'\n",
                   options_.durable ? "fsync = on\nfull_page_writes = on\n" : "fsync = off\nfull_page_writes = off\n",
                   options_.extra_settings, "\n");
  for (const auto& [name, content] :
       {std::pair<std::string, std::string>{"pg_hba.conf", "local all all peer map=latchkey\n"},
        {"pg_ident.conf", ident},
        {"latchkey.conf", settings}}) {
    const absl::Status written = WriteFileIn(directory_, name, content, uid_, gid_);
    if (!written.ok()) return written;
  }
  return absl::OkStatus();
}

absl::Status EmbeddedPostgres::MakeSocketDirectory() {
  for (int attempt = 0; attempt < 20; ++attempt) {
    const std::string path = kSocketDirectoryPrefix + SixRandomCharacters();
    // Recorded first, so that it can be found whenever we are killed.
    const absl::Status recorded = WriteFileIn(directory_, kSocketRecord, path + "\n", uid_, gid_);
    if (!recorded.ok()) return recorded;
    if (mkdir(path.c_str(), 0700) == 0) {
      if (lchown(path.c_str(), uid_, gid_) != 0) return SystemError("give " + path + " to " + user_);
      socket_directory_ = path;
      return absl::OkStatus();
    }
    if (errno != EEXIST) return SystemError("make " + path);
  }
  return absl::InternalError("no free name for a socket directory in /tmp");
}

absl::Status EmbeddedPostgres::Launch() {
  // Nothing runs here any more (StopLeftovers); PostgreSQL would refuse if the number in a stale file is another's.
  unlinkat(directory_, "postmaster.pid", 0);
  struct stat status;
  if (fstatat(directory_, kLog, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_size > kLogLimit) {
    renameat(directory_, kLog, directory_, absl::StrCat(kLog, ".1").c_str());
  }
  const int log = openat(directory_, kLog, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (log < 0 || fchown(log, uid_, gid_) != 0) {
    const absl::Status failed = SystemError(absl::StrCat("open ", kLog));
    if (log >= 0) close(log);
    return failed;
  }
  const off_t log_start = lseek(log, 0, SEEK_END);
  // On the command line, because it wins over every file.
  ChildProcess::Command command =
      Command({absl::StrCat(kPrograms, "/postgres"), "-D", kDataAsSeenByChild, "-c", "listen_addresses=", "-c",
               absl::StrCat("unix_socket_directories=", socket_directory_), "-c", "unix_socket_permissions=0700", "-c",
               "port=5432", "-c", "logging_collector=off"},
              directory_);
  command.output = log;
  command.error = log;
  command.death_signal = SIGINT;
  absl::StatusOr<std::unique_ptr<ChildProcess>> process = ChildProcess::Start(std::move(command));
  absl::Status started = process.status();
  if (started.ok()) {
    process_ = *std::move(process);
    started = absl::DeadlineExceededError("it is not ready after 10 minutes");
    for (absl::Duration waited; waited < kStartPatience; waited += absl::Milliseconds(20)) {
      if (const std::optional<int> ended = process_->WaitFor(absl::Milliseconds(20)); ended.has_value()) {
        started = absl::InternalError(
            absl::StrCat("postgres: ", DescribeWaitStatus(*ended), ": ", LastLines(ReadFrom(log, log_start))));
        process_.reset();
        break;
      }
      const std::vector<std::string> lines = absl::StrSplit(ReadFileIn(directory_, "postmaster.pid"), '\n');
      if (lines.size() >= 8 && lines[0] == absl::StrCat(pid()) && absl::StartsWith(lines[7], "ready")) {
        started = absl::OkStatus();
        break;
      }
    }
  }
  close(log);
  return started;
}

absl::Status EmbeddedPostgres::MakeDatabase() {
  PGconn* connection = PQconnectdb(ConnectionString("postgres").c_str());
  absl::Status made;
  const char* name = options_.database.c_str();
  PGresult* found =
      PQexecParams(connection, "SELECT 1 FROM pg_database WHERE datname = $1", 1, nullptr, &name, nullptr, nullptr, 0);
  if (PQresultStatus(found) != PGRES_TUPLES_OK) {
    made = absl::InternalError(absl::StrCat("connect: ", PQerrorMessage(connection)));
  } else if (PQntuples(found) == 0) {
    char* identifier = PQescapeIdentifier(connection, name, options_.database.size());
    PGresult* created = PQexec(connection, absl::StrCat("CREATE DATABASE ", identifier).c_str());
    if (PQresultStatus(created) != PGRES_COMMAND_OK) {
      made = absl::InternalError(absl::StrCat("create the database: ", PQerrorMessage(connection)));
    }
    PQclear(created);
    PQfreemem(identifier);
  }
  PQclear(found);
  PQfinish(connection);
  return made;
}

std::string EmbeddedPostgres::ConnectionString(const std::string& database) const {
  return absl::StrCat("host=", Quoted(socket_directory_), " port=5432 user=latchkey dbname=", Quoted(database));
}

void EmbeddedPostgres::Signal(int signal) {
  if (process_ != nullptr) process_->Signal(signal);
}

absl::Status EmbeddedPostgres::Restart() {
  Stop();
  return Launch();
}

void EmbeddedPostgres::StopLeftovers() { StopPostgresProcessesIn(directory_, uid_); }

void EmbeddedPostgres::Stop() {
  if (process_ != nullptr) {
    process_->Signal(SIGINT);
    if (!process_->WaitFor(absl::Seconds(30))) process_->Signal(SIGQUIT);
    if (!process_->WaitFor(absl::Seconds(10))) process_->Signal(SIGKILL);
    process_->WaitFor(absl::InfiniteDuration());
    process_.reset();
  }
  // A postmaster that was killed leaves backends that notice it only by and by.
  StopLeftovers();
}

}  // namespace latchkey::app
