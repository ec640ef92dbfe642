#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace latchkey::app {

// The libpq connection string or URL in `path` (one line; it may hold a password, so it comes from a file). Errors name
// the file, never its contents.
absl::StatusOr<std::string> ReadDatabaseUrl(const std::string& path);

}  // namespace latchkey::app
