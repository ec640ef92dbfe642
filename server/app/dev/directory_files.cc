#include "server/app/dev/directory_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace latchkey::app {

absl::Status SystemError(const std::string& what) {
  const char* reason = strerrordesc_np(errno);
  return absl::InternalError(absl::StrCat(what, ": ", reason == nullptr ? "unknown error" : reason));
}

std::string ReadFileIn(int directory, const std::string& name) {
  std::string content;
  // O_NONBLOCK: a pipe of that name must not hang us.
  const int file = openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return content;
  struct stat status;
  if (fstat(file, &status) == 0 && S_ISREG(status.st_mode)) {
    content.resize(65536);
    const ssize_t size = pread(file, content.data(), content.size(), 0);
    content.resize(size < 0 ? 0 : static_cast<size_t>(size));
  }
  close(file);
  return content;
}

absl::Status WriteFileIn(int directory, const std::string& name, const std::string& content, uid_t uid, gid_t gid) {
  const std::string fresh = name + ".new";
  unlinkat(directory, fresh.c_str(), 0);
  const int file = openat(directory, fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return SystemError("make " + fresh);
  size_t done = 0;
  bool good = true;
  while (good && done < content.size()) {
    const ssize_t size = write(file, content.data() + done, content.size() - done);
    good = size > 0 || (size < 0 && errno == EINTR);
    if (size > 0) done += static_cast<size_t>(size);
  }
  good = good && fchown(file, uid, gid) == 0 && fsync(file) == 0;
  const absl::Status failed = good ? absl::OkStatus() : SystemError("write " + fresh);
  close(file);
  if (!good) return failed;
  if (renameat(directory, fresh.c_str(), directory, name.c_str()) != 0) return SystemError("rename " + fresh);
  if (fsync(directory) != 0) return SystemError("sync the directory of " + name);
  return absl::OkStatus();
}

}  // namespace latchkey::app
