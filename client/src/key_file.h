#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/core/secret.h"

namespace latchkey::client {

// Credentials file: reading the caller's own key string.

// Removes one line end, LF or CRLF, from the end of `text`; nothing else.
void DropLineEnd(std::string& text);

// The caller's own key string from a file that holds it and nothing else but one line end. Errors name the file and
// never quote what is in it: NOT_FOUND; PERMISSION_DENIED if it can't be opened, or if its group or others may read or
// write it; INVALID_ARGUMENT if it is no regular file or holds anything but a well-formed key string.
absl::StatusOr<core::Secret> ReadKeyFile(const std::string& path);

}  // namespace latchkey::client
