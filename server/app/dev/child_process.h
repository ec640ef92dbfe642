#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace latchkey::app {

// A child process that does not outlive us: it gets `death_signal` when this process dies, however it dies.
//
// The kernel ties that signal to the parent THREAD, so each child is forked and waited for by a thread of its own;
// Start may be called from any thread. The child inherits the descriptors named here and no other (no listening socket,
// lock file or key ring), an empty signal mask and the environment given here. Thread-safe.
class ChildProcess {
 public:
  struct User {
    uid_t uid;
    gid_t gid;
  };
  struct Command {
    std::vector<std::string> arguments;    // The first is the program's absolute path.
    std::vector<std::string> environment;  // "NAME=value".
    int input = -1;                        // Becomes 0; -1 is /dev/null.
    int output = -1;                       // Becomes 1; -1 is /dev/null.
    int error = -1;                        // Becomes 2; -1 is /dev/null.
    int extra = -1;                        // Becomes 3; -1 is none.
    std::string working_directory = "/";
    std::optional<User> run_as;  // Needs root. No supplementary groups.
    mode_t file_mask = 022;
    int death_signal = 9;
  };

  // Returns once the child exists; what stops it from running the program is told by its exit code 127 and a line on
  // its standard error. INTERNAL if there is no process to be had.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(Command command);
  // SIGKILL if it still runs, then waits.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Nothing happens if it has ended: its number may be another's by now.
  void Signal(int signal);
  // Its wait status (see waitpid) once it ends; nullopt if it still runs after `patience`.
  std::optional<int> WaitFor(absl::Duration patience);

 private:
  ChildProcess() = default;
  void Supervise(const Command& command);

  std::mutex mutex_;
  std::condition_variable changed_;
  pid_t pid_ = -1;
  int fork_error_ = 0;
  bool forked_ = false;
  std::optional<int> wait_status_;
  std::thread runner_;
};

// "exit code 1", "signal 9".
std::string DescribeWaitStatus(int wait_status);

}  // namespace latchkey::app
