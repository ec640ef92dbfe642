#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/core/secret.h"

namespace latchkey::app {

// The contents of a small file that holds a secret. NOT_FOUND if there is none; FAILED_PRECONDITION if others than its
// owner and group may read it, or its group may write it.
absl::StatusOr<core::Secret> ReadSecretFile(const std::string& path);

// Writes a 0600 file as a whole or not at all, and durably (temporary file, fsync, rename). `replace` false:
// ALREADY_EXISTS if there is one.
absl::Status WriteSecretFile(const std::string& path, const core::Secret& contents, bool replace);

// Makes the directory 0700 if it is missing, its parents as usual, and returns its absolute path. PERMISSION_DENIED for
// one that is another user's or that others can write.
absl::StatusOr<std::string> MakePrivateDirectory(const std::string& path);

bool DirectoryExists(const std::string& path);

// An exclusive lock on a file, held until destroyed or the process ends.
class FileLock {
 public:
  // FAILED_PRECONDITION if another process holds it.
  static absl::StatusOr<FileLock> Take(const std::string& path);
  FileLock(FileLock&& other) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace latchkey::app
