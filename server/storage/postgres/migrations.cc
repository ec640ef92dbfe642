#include "server/storage/postgres/migrations.h"

#include <exception>
#include <memory>

#include "absl/strings/str_cat.h"
#include "server/storage/postgres/connection.h"
#include "server/storage/postgres/schema.h"
#include "server/storage/postgres/sql_failure.h"

namespace latchkey::storage {
namespace {

using postgres::Connection;

// "latchkey" in ASCII. Migrations of one database exclude each other by it.
constexpr char kLock[] = "SELECT pg_advisory_xact_lock(7809640615022814585)";

// Waiting for another replica's migration is not contention, and a step over a large table may take long.
constexpr char kPatience[] = "SET lock_timeout = '60s'; SET statement_timeout = 0";

int VersionIn(Connection& connection) {
  if (connection.Exec("SELECT to_regclass('schema_migrations') IS NULL")[0][0].as<bool>()) return 0;
  return connection.Exec("SELECT coalesce(max(version), 0) FROM schema_migrations")[0][0].as<int>();
}

absl::Status MigrateOn(Connection& connection) {
  connection.Exec(kPatience);
  connection.Exec("BEGIN");
  connection.Exec(kLock);
  connection.Exec(
      "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, "
      "applied_at timestamptz NOT NULL DEFAULT clock_timestamp())");
  const int found = VersionIn(connection);
  const int newest = NewestSchemaVersion();
  if (found > newest) {
    connection.Exec("ROLLBACK");
    return absl::FailedPreconditionError(absl::StrCat("the database has schema version ", found,
                                                      ", this build knows only ", newest, ": use a newer latchkeyd"));
  }
  for (int version = found + 1; version <= newest; ++version) {
    connection.Exec(postgres::SchemaSteps()[version - 1]);
    connection.Exec(absl::StrCat("INSERT INTO schema_migrations (version) VALUES (", version, ")"));
  }
  connection.Exec("COMMIT");
  return absl::OkStatus();
}

}  // namespace

int NewestSchemaVersion() { return static_cast<int>(postgres::SchemaSteps().size()); }

absl::Status Migrate(const std::string& connection_string) {
  std::unique_ptr<Connection> connection;
  try {
    connection = std::make_unique<Connection>(connection_string, postgres::SessionSettings());
    return MigrateOn(*connection);
  } catch (...) {
    return postgres::FailureOf(std::current_exception(), connection && connection->open()).ToStatus("migrating");
  }
}

absl::StatusOr<int> SchemaVersion(const std::string& connection_string) {
  std::unique_ptr<Connection> connection;
  try {
    connection = std::make_unique<Connection>(connection_string, postgres::SessionSettings());
    return VersionIn(*connection);
  } catch (...) {
    return postgres::FailureOf(std::current_exception(), connection && connection->open())
        .ToStatus("reading the schema version");
  }
}

}  // namespace latchkey::storage
