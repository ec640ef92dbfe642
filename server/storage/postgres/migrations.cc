#include "server/storage/postgres/migrations.h"

#include <exception>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/storage/postgres/connection.h"
#include "server/storage/postgres/operator_errors.h"
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

absl::Status CheckEncoding(Connection& connection) {
  const std::string encoding = connection.Exec("SHOW server_encoding")[0][0].as<std::string>();
  if (encoding == "UTF8") return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the database's encoding is ", encoding, ": make one with ENCODING 'UTF8'"));
}

absl::Status MayNotCreate() {
  return absl::FailedPreconditionError(
      "the database role may not create tables in schema public: make it the database's owner");
}

absl::Status MakeVersionTable(Connection& connection) {
  try {
    connection.Exec(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, "
        "applied_at timestamptz NOT NULL DEFAULT clock_timestamp())");
    return absl::OkStatus();
  } catch (const pqxx::insufficient_privilege&) {
    return MayNotCreate();
  } catch (const pqxx::sql_error& error) {
    // "No schema has been selected to create in": without USAGE on it, it is as if it were not there.
    if (error.sqlstate() == "3F000") return MayNotCreate();
    throw;
  }
}

absl::Status MigrateOn(Connection& connection) {
  if (absl::Status encoding = CheckEncoding(connection); !encoding.ok()) return encoding;
  connection.Exec(kPatience);
  connection.Exec("BEGIN");
  connection.Exec(kLock);
  if (absl::Status made = MakeVersionTable(connection); !made.ok()) return made;
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

// Runs `job` on a session of its own. Exceptions end here.
absl::Status WithConnection(const std::string& connection_string, const char* what, postgres::Watchdog* dog,
                            absl::FunctionRef<absl::Status(Connection&)> job) {
  if (absl::Status parsed = postgres::ParseConnectionString(connection_string); !parsed.ok()) return parsed;
  std::unique_ptr<Connection> connection;
  try {
    connection = std::make_unique<Connection>(connection_string, postgres::SessionSettings(), dog);
    return job(*connection);
  } catch (const pqxx::insufficient_privilege&) {
    return absl::FailedPreconditionError(
        "the database role may not use all of latchkey's tables in schema public: make it their owner");
  } catch (const pqxx::broken_connection& error) {
    if (connection == nullptr) return postgres::CannotConnect(connection_string, error.what());
    return errors::DatabaseUnavailable();
  } catch (...) {
    return postgres::FailureOf(std::current_exception(), connection && connection->open()).ToStatus(what);
  }
}

}  // namespace

int NewestSchemaVersion() { return static_cast<int>(postgres::SchemaSteps().size()); }

absl::Status CheckConnectionString(const std::string& connection_string) {
  return postgres::ParseConnectionString(connection_string);
}

absl::Status Migrate(const std::string& connection_string) {
  return WithConnection(connection_string, "migrating", nullptr, MigrateOn);
}

absl::StatusOr<int> SchemaVersion(const std::string& connection_string) {
  const postgres::SessionSettings settings;
  postgres::Watchdog dog(settings.statement_timeout + absl::Seconds(1));
  int version = 0;
  absl::Status status =
      WithConnection(connection_string, "reading the schema version", &dog, [&](Connection& connection) {
        if (absl::Status encoding = CheckEncoding(connection); !encoding.ok()) return encoding;
        version = VersionIn(connection);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return version;
}

}  // namespace latchkey::storage
