#include "tests/support/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/match.h"

namespace latchkey::testing {
namespace {

void Check(bool good, const char* what) {
  if (good) return;
  perror(what);
  abort();
}

int FileWith(const std::string& content) {
  const int file = memfd_create("input", MFD_CLOEXEC);
  Check(file >= 0, "memfd_create");
  Check(write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size()), "write");
  Check(lseek(file, 0, SEEK_SET) == 0, "lseek");
  return file;
}

int ExitCode(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

}  // namespace

ChildProcess::ChildProcess(Options options) {
  int output[2], error[2];
  Check(pipe2(output, O_CLOEXEC) == 0 && pipe2(error, O_CLOEXEC) == 0, "pipe2");
  app::ChildProcess::Command command;
  command.arguments = std::move(options.arguments);
  command.environment = std::move(options.environment);
  for (const char* name : {"PATH", "HOME", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"}) {
    if (const char* value = getenv(name)) command.environment.push_back(std::string(name) + "=" + value);
  }
  command.working_directory = options.working_directory;
  command.input = FileWith(options.input);
  command.output = output[1];
  command.error = error[1];
  const int input = command.input;
  absl::StatusOr<std::unique_ptr<app::ChildProcess>> started = app::ChildProcess::Start(std::move(command));
  Check(started.ok(), "ChildProcess::Start");
  process_ = *std::move(started);
  for (const int ours : {input, output[1], error[1]}) close(ours);
  output_reader_ = std::thread([this, from = output[0]] { ReadAll(from, output_, output_ended_); });
  error_reader_ = std::thread([this, from = error[0]] { ReadAll(from, error_, error_ended_); });
}

ChildProcess::~ChildProcess() {
  process_.reset();
  output_reader_.join();
  error_reader_.join();
}

void ChildProcess::ReadAll(int descriptor, std::string& into, bool& ended) {
  char buffer[4096];
  for (;;) {
    const ssize_t size = read(descriptor, buffer, sizeof(buffer));
    if (size < 0 && errno == EINTR) continue;
    std::lock_guard lock(mutex_);
    if (size > 0) into.append(buffer, static_cast<size_t>(size));
    if (size <= 0) ended = true;
    changed_.notify_all();
    if (size <= 0) break;
  }
  close(descriptor);
}

std::optional<std::string> ChildProcess::ReadLine(absl::Duration patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMilliseconds(patience),
                    [this] { return output_ended_ || output_.find('\n', read_) != std::string::npos; });
  const size_t end = output_.find('\n', read_);
  if (end == std::string::npos) return std::nullopt;
  std::string line = output_.substr(read_, end - read_);
  read_ = end + 1;
  return line;
}

std::optional<std::string> ChildProcess::ReadLineStartingWith(const std::string& prefix, absl::Duration patience) {
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(patience);
  for (;;) {
    const auto left = absl::FromChrono(deadline - std::chrono::steady_clock::now());
    std::optional<std::string> line = ReadLine(std::max(left, absl::ZeroDuration()));
    if (!line.has_value() || absl::StartsWith(*line, prefix)) return line;
  }
}

std::optional<int> ChildProcess::WaitFor(absl::Duration patience) {
  const std::optional<int> status = process_->WaitFor(patience);
  if (!status.has_value()) return std::nullopt;
  return ExitCode(*status);
}

std::string ChildProcess::output() const {
  std::lock_guard lock(mutex_);
  return output_;
}

std::string ChildProcess::error() const {
  std::lock_guard lock(mutex_);
  return error_;
}

ChildProcess::Result ChildProcess::Run(Options options, absl::Duration patience) {
  const std::string program = options.arguments.at(0);
  ChildProcess child(std::move(options));
  Result result;
  if (const std::optional<int> code = child.WaitFor(patience); code.has_value()) {
    result.exit_code = *code;
  } else {
    ADD_FAILURE() << program << " still runs after " << patience;
    child.Signal(SIGKILL);
  }
  // What it wrote last may still be in the pipe. A grandchild may hold the pipe open: not waited for for ever.
  std::unique_lock lock(child.mutex_);
  child.changed_.wait_for(lock, std::chrono::seconds(5), [&] { return child.output_ended_ && child.error_ended_; });
  result.output = child.output_;
  result.error = child.error_;
  return result;
}

std::string Program(const std::string& path_in_build_tree) {
  return std::string(LATCHKEY_BINARY_DIR) + "/" + path_in_build_tree;
}

}  // namespace latchkey::testing
