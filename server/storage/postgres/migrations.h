#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace latchkey::storage {

// The schema this build reads and writes.
int NewestSchemaVersion();

// Brings the database to NewestSchemaVersion(): forward only, each step recorded in schema_migrations(version,
// applied_at), all in one transaction under an advisory lock, so that any number of replicas may start at once on an
// empty database. Nothing happens if it is there already. FAILED_PRECONDITION if the database is newer than this build;
// DATABASE_UNAVAILABLE if it can't be reached. `connection_string`: libpq's, either form.
absl::Status Migrate(const std::string& connection_string);

// The version a database has; 0 = none of ours yet.
absl::StatusOr<int> SchemaVersion(const std::string& connection_string);

}  // namespace latchkey::storage
