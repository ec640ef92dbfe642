#include "server/app/dev/postgres_leftovers.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

// glibc 2.36's header forgets to say so itself.
extern "C" {
#include <sys/pidfd.h>
}

namespace latchkey::app {
namespace {

bool IsPostgresIn(pid_t pid, const struct stat& directory, uid_t uid) {
  const std::string proc = absl::StrCat("/proc/", pid);
  struct stat cwd, self;
  if (stat((proc + "/cwd").c_str(), &cwd) != 0 || stat(proc.c_str(), &self) != 0) return false;
  if (cwd.st_dev != directory.st_dev || cwd.st_ino != directory.st_ino || self.st_uid != uid) return false;
  char program[PATH_MAX];
  const ssize_t length = readlink((proc + "/exe").c_str(), program, sizeof(program));
  if (length <= 0) return false;
  // " (deleted)" follows if the package was upgraded under it.
  return absl::StrContains(absl::string_view(program, static_cast<size_t>(length)), "/bin/postgres");
}

// Through a pidfd, so that the process checked is the process signalled.
void SignalIfPostgres(pid_t pid, const struct stat& directory, uid_t uid, int signal) {
  const int pidfd = pidfd_open(pid, 0);
  if (pidfd < 0) return;
  if (IsPostgresIn(pid, directory, uid)) pidfd_send_signal(pidfd, signal, nullptr, 0);
  close(pidfd);
}

pid_t ParentOf(pid_t pid) {
  FILE* file = fopen(absl::StrCat("/proc/", pid, "/stat").c_str(), "re");
  if (file == nullptr) return -1;
  int parent = -1;
  // The name is "postgres": no parenthesis or space to be careful of.
  if (fscanf(file, "%*d %*s %*c %d", &parent) != 1) parent = -1;
  fclose(file);
  return parent;
}

}  // namespace

std::vector<pid_t> PostgresProcessesIn(int directory, uid_t uid) {
  std::vector<pid_t> found;
  struct stat wanted;
  if (fstat(directory, &wanted) != 0) return found;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return found;
  while (const dirent* entry = readdir(proc)) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(entry->d_name, &pid) && IsPostgresIn(pid, wanted, uid)) found.push_back(pid);
  }
  closedir(proc);
  return found;
}

void StopPostgresProcessesIn(int directory, uid_t uid) {
  struct stat wanted;
  if (fstat(directory, &wanted) != 0) return;
  const auto start = std::chrono::steady_clock::now();
  bool asked = false;
  for (std::vector<pid_t> pids; !(pids = PostgresProcessesIn(directory, uid)).empty();) {
    const auto waited = std::chrono::steady_clock::now() - start;
    const bool force = waited > std::chrono::seconds(25);
    const bool immediate = waited > std::chrono::seconds(20);
    for (const pid_t pid : pids) {
      // A backend takes SIGINT for "cancel the query": the shutdown is asked of the postmaster, whose parent is none of
      // them, once. Backends whose postmaster is gone end by themselves.
      bool child = false;
      const pid_t parent = ParentOf(pid);
      for (const pid_t other : pids) child = child || other == parent;
      if (force) {
        SignalIfPostgres(pid, wanted, uid, SIGKILL);
      } else if (immediate) {
        SignalIfPostgres(pid, wanted, uid, SIGQUIT);
      } else if (!child && !asked) {
        SignalIfPostgres(pid, wanted, uid, SIGINT);
      }
    }
    asked = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void RemoveSocketDirectory(const std::string& path, uid_t uid) {
  const size_t prefix = strlen(kSocketDirectoryPrefix);
  if (!absl::StartsWith(path, kSocketDirectoryPrefix) || path.size() != prefix + 6) return;
  if (path.find('/', prefix) != std::string::npos) return;
  const int directory = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0) return;
  struct stat status;
  // Root's own: a crash fell between making it and giving it away.
  if (fstat(directory, &status) == 0 && (status.st_uid == uid || status.st_uid == geteuid())) {
    unlinkat(directory, ".s.PGSQL.5432", 0);
    unlinkat(directory, ".s.PGSQL.5432.lock", 0);
    rmdir(path.c_str());
  }
  close(directory);
}

}  // namespace latchkey::app
