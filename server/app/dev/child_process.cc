#include "server/app/dev/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace latchkey::app {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec in a process with threads only async-signal-safe calls are allowed: no allocation, no stdio.
[[noreturn]] void Fail(const char* step) {
  const char* reason = strerrordesc_np(errno);
  for (const char* text : {"cannot start the program: ", step, ": ", reason != nullptr ? reason : "?", "\n"}) {
    if (write(2, text, strlen(text)) < 0) break;
  }
  _exit(127);
}

[[noreturn]] void BecomeProgram(const ChildProcess::Command& command, char* const* arguments, char* const* environment,
                                pid_t parent) {
  // First out of the way of 0..3, or one dup2 would overwrite the source of the next.
  int sources[4] = {command.input, command.output, command.error, command.extra};
  const int null = open("/dev/null", O_RDWR);
  for (int i = 0; i < 4; ++i) {
    if (sources[i] < 0) sources[i] = i < 3 ? null : -1;
    if (sources[i] >= 0) sources[i] = fcntl(sources[i], F_DUPFD, 10);
  }
  for (int i : {2, 0, 1, 3}) {
    if (sources[i] < 0) {
      close(i);
    } else if (dup2(sources[i], i) < 0) {
      Fail("dup2");
    }
  }
  if (close_range(4, ~0U, 0) != 0) Fail("close_range");
  // A terminal's Ctrl-C is for us, who stop the child in our own order.
  setpgid(0, 0);
  if (chdir(command.working_directory.c_str()) != 0) Fail("chdir");
  umask(command.file_mask);
  if (command.run_as.has_value()) {
    // glibc's wrappers signal all threads of the process, of which the child has only this one.
    const gid_t gid = command.run_as->gid;
    if (syscall(SYS_setgroups, 0, nullptr) != 0) Fail("setgroups");
    if (syscall(SYS_setresgid, gid, gid, gid) != 0) Fail("setresgid");
    const uid_t uid = command.run_as->uid;
    if (syscall(SYS_setresuid, uid, uid, uid) != 0) Fail("setresuid");
  }
  // After the change of user, which clears it.
  if (prctl(PR_SET_PDEATHSIG, command.death_signal) != 0) Fail("prctl");
  if (getppid() != parent) _exit(127);  // It died before the line above.
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(arguments[0], arguments, environment);
  Fail(arguments[0]);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(Command command) {
  std::unique_ptr<ChildProcess> process(new ChildProcess());
  ChildProcess* self = process.get();
  // The descriptors are the caller's and may be closed after Start returns: by then the child has its own.
  process->runner_ = std::thread([self, command = std::move(command)] { self->Supervise(command); });
  std::unique_lock lock(process->mutex_);
  process->changed_.wait(lock, [&] { return process->forked_; });
  if (process->pid_ < 0) return absl::InternalError(absl::StrCat("fork: ", strerrordesc_np(process->fork_error_)));
  return process;
}

void ChildProcess::Supervise(const Command& command) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  const std::vector<char*> arguments = Pointers(command.arguments);
  const std::vector<char*> environment = Pointers(command.environment);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) BecomeProgram(command, arguments.data(), environment.data(), parent);
  {
    std::lock_guard lock(mutex_);
    pid_ = child;
    fork_error_ = errno;
    forked_ = true;
    changed_.notify_all();
  }
  if (child < 0) return;
  siginfo_t info;
  // WNOWAIT: the number stays ours until the lock is held, so Signal cannot hit a stranger.
  while (waitid(P_PID, child, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  std::lock_guard lock(mutex_);
  int status = 0;
  waitpid(child, &status, 0);
  wait_status_ = status;
  changed_.notify_all();
}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  if (runner_.joinable()) runner_.join();
}

void ChildProcess::Signal(int signal) {
  std::lock_guard lock(mutex_);
  if (pid_ > 0 && !wait_status_.has_value()) kill(pid_, signal);
}

std::optional<int> ChildProcess::WaitFor(absl::Duration patience) {
  std::unique_lock lock(mutex_);
  const auto ended = [this] { return wait_status_.has_value(); };
  if (patience == absl::InfiniteDuration()) {
    changed_.wait(lock, ended);
  } else {
    changed_.wait_for(lock, absl::ToChronoMilliseconds(patience), ended);
  }
  return wait_status_;
}

std::string DescribeWaitStatus(int wait_status) {
  if (WIFSIGNALED(wait_status)) return absl::StrCat("signal ", WTERMSIG(wait_status));
  return absl::StrCat("exit code ", WEXITSTATUS(wait_status));
}

}  // namespace latchkey::app
