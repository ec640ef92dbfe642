#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/app/dev/child_process.h"

namespace latchkey::app {

// A private PostgreSQL 15 under a directory of ours: made on first use (initdb, C.UTF-8, UTF8), started and stopped
// with this process, reachable only over a Unix socket in a private directory with peer authentication,
// `listen_addresses=''`.
//
// PostgreSQL refuses root, so as root it runs as the system user `postgres` (which Debian's package makes). That user
// may be unable to walk the path to its own data (a 0700 home): it inherits the open directory as descriptor 3 and is
// told that its data is /proc/self/fd/3, which needs no walk. (/proc/self/cwd would do for the data, but at start
// PostgreSQL leaves its working directory and walks back to it.) The socket directory is short and lives under /tmp: a
// Unix socket's path ends at 107 bytes, a data directory's does not.
//
// What a killed server left behind (a running PostgreSQL, a socket directory, a half-made data directory) is stopped
// and removed by the next Start. So the caller must hold a lock on the directory: a second Start over it would stop the
// first one's PostgreSQL.
//
// Logs to postgres.log in the directory; statements' values and rows are kept out of it.
//
// Start, Restart and the destructor block; not thread-safe but for ConnectionString and Signal.
class EmbeddedPostgres {
 public:
  struct Options {
    std::string directory;  // Absolute; its parent exists. Made 0700, owned by PostgreSQL's user.
    std::string database = "latchkey";
    // false: initdb --no-sync and fsync=off, for tests that never pull the plug. A commit still survives any kill.
    bool durable = true;
    std::string extra_settings;  // Lines for postgresql.conf, for tests.
  };
  // Errors are one clear line for stderr, with the last lines of PostgreSQL's log.
  static absl::StatusOr<std::unique_ptr<EmbeddedPostgres>> Start(Options options);
  // Fast shutdown, waits, removes the socket directory.
  ~EmbeddedPostgres();
  EmbeddedPostgres(const EmbeddedPostgres&) = delete;

  // A libpq connection string (no secret in it: peer authentication).
  std::string ConnectionString() const { return ConnectionString(options_.database); }
  std::string ConnectionString(const std::string& database) const;

  // -1 if it does not run.
  pid_t pid() const { return process_ == nullptr ? -1 : process_->pid(); }
  // False once the postmaster has ended, however it did.
  bool Running() const { return process_ != nullptr && !process_->WaitFor(absl::ZeroDuration()).has_value(); }
  // For tests: sends SIGKILL, or SIGQUIT ("immediate"), and does not wait; see Restart.
  void Signal(int signal);
  // Stops what still runs and starts again over the same data and socket directory: connection strings stay good.
  absl::Status Restart();

 private:
  explicit EmbeddedPostgres(Options options) : options_(std::move(options)) {}
  absl::Status ChooseUser();
  absl::Status MakeData();
  absl::Status OpenData();
  absl::Status WriteSettings();
  absl::Status MakeSocketDirectory();
  absl::Status Launch();
  absl::Status MakeDatabase();
  void StopLeftovers();
  void Stop();

  ChildProcess::Command Command(std::vector<std::string> arguments, int directory) const;

  Options options_;
  std::string socket_directory_;
  std::string user_;  // The operating system's name of PostgreSQL's user.
  uid_t uid_ = 0;
  gid_t gid_ = 0;
  int directory_ = -1;  // The data directory, open.
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace latchkey::app
