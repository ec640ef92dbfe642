#include "client/src/key_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"

namespace latchkey::client {
namespace {

absl::Status OpenFailed(const std::string& path, int error) {
  const std::string text = absl::StrCat("key file ", path, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(text);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(text);
  return absl::InvalidArgumentError(text);
}

}  // namespace

void DropLineEnd(std::string& text) {
  if (!text.ends_with('\n')) return;
  text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
}

absl::StatusOr<core::Secret> ReadKeyFile(const std::string& path) {
  // O_NONBLOCK: opening a pipe must not wait for somebody to write to it.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return OpenFailed(path, errno);
  const absl::Cleanup close_file = [file] { close(file); };

  struct stat about {};
  if (fstat(file, &about) != 0) return OpenFailed(path, errno);
  if (!S_ISREG(about.st_mode)) return absl::InvalidArgumentError(absl::StrCat("key file ", path, ": not a file"));
  if ((about.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("key file ", path, ": its group or others may read or write it; chmod 600 ", path));
  }

  // Room for the line end and one byte more, which shows that there is too much.
  std::string text(core::kMaxKeyStringLength + 3, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = read(file, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int error = errno;
      core::CleanseString(text);
      return OpenFailed(path, error);
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  text.resize(size);
  DropLineEnd(text);
  core::Secret key(std::move(text));
  if (!core::ParseKeyString(key.Expose())) {
    return absl::InvalidArgumentError(
        absl::StrCat("key file ", path, ": does not hold exactly one well-formed key string and a newline"));
  }
  return key;
}

}  // namespace latchkey::client
