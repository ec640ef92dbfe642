#pragma once

#include <string>

#include "absl/status/status.h"

namespace latchkey::storage::postgres {

// Why the server can't start, for who runs it. Nothing in these texts may hold the password: a connection string that
// is mistyped or whose password is not percent-encoded makes libpq quote parts of it.

// OK, or FAILED_PRECONDITION with libpq's reason if libpq can't parse it.
absl::Status ParseConnectionString(const std::string& connection_string);

// DATABASE_UNAVAILABLE with `libpq_text`, what libpq said of the failed connect, on one line.
absl::Status CannotConnect(const std::string& connection_string, const std::string& libpq_text);

}  // namespace latchkey::storage::postgres
