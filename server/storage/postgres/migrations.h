#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace latchkey::storage {

// The schema this build reads and writes.
int NewestSchemaVersion();

// FAILED_PRECONDITION if libpq can't parse it: why, with nothing of it quoted. Talks to nobody.
absl::Status CheckConnectionString(const std::string& connection_string);

// Brings the database to NewestSchemaVersion(): forward only, each step recorded in schema_migrations(version,
// applied_at), all in one transaction under an advisory lock, so that any number of replicas may start at once on an
// empty database. Nothing happens if it is there already. FAILED_PRECONDITION if the database is newer than this build,
// its encoding is not UTF8, the role may not make tables, or CheckConnectionString says so; DATABASE_UNAVAILABLE, with
// libpq's reason, if it can't be reached or refuses. `connection_string`: libpq's, either form.
absl::Status Migrate(const std::string& connection_string);

// The version a database has; 0 = none of ours yet. Errors as of Migrate.
absl::StatusOr<int> SchemaVersion(const std::string& connection_string);

}  // namespace latchkey::storage
