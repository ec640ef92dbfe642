#include "server/app/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace latchkey::app {
namespace {

constexpr size_t kLargestSecretFile = 64 * 1024;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string Why(const std::string& what, const std::string& path) {
  return absl::StrCat(what, " ", path, ": ", std::strerror(errno));
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    bytes.remove_prefix(wrote);
  }
  return true;
}

void SyncDirectoryOf(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  const Descriptor fd(open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() >= 0) fsync(fd.get());
}

}  // namespace

absl::StatusOr<core::Secret> ReadSecretFile(const std::string& path) {
  const Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) {
    const std::string why = Why("can't read", path);
    return errno == ENOENT ? absl::NotFoundError(why) : absl::FailedPreconditionError(why);
  }
  struct stat info {};
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a regular file"));
  }
  if ((info.st_mode & 0027) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is open to others; chmod 600 it"));
  }
  std::string bytes;
  char buffer[4096];
  while (bytes.size() <= kLargestSecretFile) {
    const ssize_t got = read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::FailedPreconditionError(Why("can't read", path));
    if (got == 0) return core::Secret(std::move(bytes));
    bytes.append(buffer, got);
  }
  return absl::FailedPreconditionError(absl::StrCat(path, " is larger than 64 KiB"));
}

absl::Status WriteSecretFile(const std::string& path, const core::Secret& contents, bool replace) {
  const std::string temporary = absl::StrCat(path, ".new");
  unlink(temporary.c_str());
  {
    const Descriptor fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (fd.get() < 0) return absl::PermissionDeniedError(Why("can't write", temporary));
    if (!WriteAll(fd.get(), contents.Expose()) || fsync(fd.get()) != 0) {
      const std::string why = Why("can't write", temporary);
      unlink(temporary.c_str());
      return absl::PermissionDeniedError(why);
    }
  }
  // link() refuses an existing file where rename() would replace it.
  const int done = replace ? rename(temporary.c_str(), path.c_str()) : link(temporary.c_str(), path.c_str());
  const int error = errno;
  if (!replace || done != 0) unlink(temporary.c_str());
  if (done != 0) {
    errno = error;
    if (error == EEXIST) return absl::AlreadyExistsError(absl::StrCat(path, " exists already"));
    return absl::PermissionDeniedError(Why("can't write", path));
  }
  SyncDirectoryOf(path);
  return absl::OkStatus();
}

absl::StatusOr<std::string> MakePrivateDirectory(const std::string& path) {
  std::error_code ignored;  // What is still missing after this, mkdir says.
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return absl::PermissionDeniedError(Why("can't make", path));
  char absolute[PATH_MAX];
  if (realpath(path.c_str(), absolute) == nullptr) return absl::PermissionDeniedError(Why("can't open", path));
  struct stat info {};
  if (stat(absolute, &info) != 0 || !S_ISDIR(info.st_mode)) {
    return absl::PermissionDeniedError(absl::StrCat(path, " is not a directory"));
  }
  if ((info.st_mode & 0022) != 0 || info.st_uid != geteuid()) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, " belongs to another user or can be written by others, who could swap the key ring"));
  }
  return std::string(absolute);
}

bool DirectoryExists(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

absl::StatusOr<FileLock> FileLock::Take(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return absl::PermissionDeniedError(Why("can't open", path));
  FileLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is held by another process"));
  }
  return lock;
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace latchkey::app
