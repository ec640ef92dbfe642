#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"

// Small files in a directory that another user owns: by the open directory, never following a link that the other user
// may have put there.
namespace latchkey::app {

// The file's first 64 KiB; "" if it is not there or is no plain file.
std::string ReadFileIn(int directory, const std::string& name);

// Replaces it atomically and durably: 0600, owned by uid:gid.
absl::Status WriteFileIn(int directory, const std::string& name, const std::string& content, uid_t uid, gid_t gid);

// errno as a sentence: "make /x/y: Permission denied".
absl::Status SystemError(const std::string& what);

}  // namespace latchkey::app
