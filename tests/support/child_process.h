#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "server/app/dev/child_process.h"

namespace latchkey::testing {

// A program started by a test: its output is read as it comes, it can be signalled, and it never outlives the test.
// Thread-safe.
class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> arguments;  // The first is the program's path.
    // Beside PATH, HOME and what sanitizers read, which are always passed on: "NAME=value".
    std::vector<std::string> environment;
    std::string input;  // What its standard input holds, then end of file.
    std::string working_directory = "/";
  };
  struct Result {
    int exit_code = -1;  // 128 + the signal's number if one ended it.
    std::string output;
    std::string error;
  };

  // Aborts the process if there is no child to be had.
  explicit ChildProcess(Options options);
  // SIGKILL if it still runs.
  ~ChildProcess();

  // Starts it, waits for its end and returns all it wrote. Longer than `patience` fails the test and kills it.
  static Result Run(Options options, absl::Duration patience = absl::Minutes(1));

  pid_t pid() const { return process_->pid(); }
  void Signal(int signal) { process_->Signal(signal); }
  // The next line of its standard output without the newline; nullopt at its end or when `patience` is over.
  std::optional<std::string> ReadLine(absl::Duration patience);
  // Reads lines up to and including one that starts with `prefix`; returns that line, nullopt as above.
  std::optional<std::string> ReadLineStartingWith(const std::string& prefix, absl::Duration patience);
  // Its exit code, 128 + the signal's number if one ended it; nullopt if it still runs after `patience`.
  std::optional<int> WaitFor(absl::Duration patience);

  // All that it wrote so far, read or not.
  std::string output() const;
  std::string error() const;

 private:
  void ReadAll(int descriptor, std::string& into, bool& ended);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string output_;
  std::string error_;
  size_t read_ = 0;  // How much of output_ ReadLine has returned.
  bool output_ended_ = false;
  bool error_ended_ = false;
  std::unique_ptr<app::ChildProcess> process_;
  std::thread output_reader_;
  std::thread error_reader_;
};

// The path of a program in the build tree: Program("server/latchkeyd").
std::string Program(const std::string& path_in_build_tree);

}  // namespace latchkey::testing
