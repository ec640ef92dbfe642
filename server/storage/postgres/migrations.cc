#include "server/storage/postgres/migrations.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/base/errors.h"
#include "server/model/feature_level.h"
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
// Whoever waits for a table that is to be altered holds up all who come after it, renewals of leases among them:
// shorter than their own patience, and again after a pause.
constexpr char kTableLockTimeout[] = "SET LOCAL lock_timeout = '150ms'";
constexpr absl::Duration kPause = absl::Milliseconds(800);
constexpr int kAttempts = 60;

int NewestIn(Connection& connection, const char* table) {
  if (connection.Exec(absl::StrCat("SELECT to_regclass('", table, "') IS NULL"))[0][0].as<bool>()) return 0;
  return connection.Exec(absl::StrCat("SELECT coalesce(max(version), 0) FROM ", table))[0][0].as<int>();
}

SchemaState StateIn(Connection& connection) {
  SchemaState state;
  const int expansion = NewestIn(connection, "schema_expansions");
  state.required = NewestIn(connection, "schema_migrations");
  state.expanded = std::max(state.required, expansion);
  state.level = keys::kReleaseZeroLevel;
  if (expansion == 0) return state;
  const pqxx::result row = connection.Exec(
      "SELECT level, NOT EXISTS (SELECT FROM schema_expansions AS e WHERE e.level <= s.level AND "
      "e.contracted_at IS NULL) FROM settings AS s");
  state.level = row.at(0)[0].as<int>();
  state.contracted = row.at(0)[1].as<bool>();
  return state;
}

// Whether this build can read and write what `state` describes, once it is expanded.
absl::Status CheckNotBeyond(const SchemaState& state) {
  if (const int newest = NewestSchemaVersion(); state.required > newest) {
    return absl::FailedPreconditionError(absl::StrCat("the database has schema version ", state.required,
                                                      ", this build knows only ", newest, ": use a newer latchkeyd"));
  }
  if (state.level < keys::kOldestLevel || state.level > keys::kNewestLevel) {
    return errors::LevelUnreadable(state.level, keys::kOldestLevel, keys::kNewestLevel);
  }
  return absl::OkStatus();
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

absl::Status MakeVersionTables(Connection& connection) {
  try {
    connection.Exec(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, "
        "applied_at timestamptz NOT NULL DEFAULT clock_timestamp())");
    connection.Exec(
        "CREATE TABLE IF NOT EXISTS schema_expansions (version integer PRIMARY KEY, level integer NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), contracted_at timestamptz)");
    return absl::OkStatus();
  } catch (const pqxx::insufficient_privilege&) {
    return MayNotCreate();
  } catch (const pqxx::sql_error& error) {
    // "No schema has been selected to create in": without USAGE on it, it is as if it were not there.
    if (error.sqlstate() == "3F000") return MayNotCreate();
    throw;
  }
}

void Expand(Connection& connection, int version) {
  const postgres::SchemaStep& step = postgres::SchemaSteps()[version - 1];
  connection.Exec(step.expand);
  if (step.level <= keys::kReleaseZeroLevel) {
    connection.Exec(absl::StrCat("INSERT INTO schema_migrations (version) VALUES (", version, ")"));
  } else {
    connection.Exec(
        absl::StrCat("INSERT INTO schema_expansions (version, level) VALUES (", version, ", ", step.level, ")"));
  }
}

void Contract(Connection& connection) {
  const pqxx::result due = connection.Exec(
      "SELECT version FROM schema_expansions WHERE contracted_at IS NULL AND level <= (SELECT level FROM settings) "
      "ORDER BY version");
  for (const auto& row : due) {
    const int version = row[0].as<int>();
    if (version > NewestSchemaVersion()) return;  // A newer build's to do.
    const std::string sql = postgres::SchemaSteps()[version - 1].contract;
    if (!sql.empty()) connection.Exec(sql);
    connection.Exec(
        absl::StrCat("UPDATE schema_expansions SET contracted_at = clock_timestamp() WHERE version = ", version));
  }
}

// Runs `job` in a transaction that no other migration runs beside, again as long as other sessions hold its tables.
absl::Status InMigration(Connection& connection, absl::FunctionRef<absl::Status()> job) {
  connection.Exec(kPatience);
  for (int attempt = 1;; ++attempt) {
    connection.Exec("BEGIN");
    bool locked = false;
    try {
      connection.Exec(kLock);
      locked = true;
      connection.Exec(kTableLockTimeout);
      const absl::Status status = job();
      connection.Exec(status.ok() ? "COMMIT" : "ROLLBACK");
      return status;
    } catch (const pqxx::sql_error& error) {
      constexpr char kLockNotAvailable[] = "55P03";
      if (error.sqlstate() != kLockNotAvailable) throw;
    } catch (const pqxx::deadlock_detected&) {
    }
    connection.Exec("ROLLBACK");
    if (!locked) return absl::UnavailableError("another migration has been under way for a minute");
    if (attempt == kAttempts) {
      return absl::UnavailableError(
          "another session holds the database's tables (a dump? a transaction left open?); nothing was changed");
    }
    absl::SleepFor(kPause);
  }
}

absl::Status MigrateOn(Connection& connection) {
  if (absl::Status encoding = CheckEncoding(connection); !encoding.ok()) return encoding;
  return InMigration(connection, [&connection]() -> absl::Status {
    if (absl::Status made = MakeVersionTables(connection); !made.ok()) return made;
    const SchemaState found = StateIn(connection);
    if (absl::Status usable = CheckNotBeyond(found); !usable.ok()) return usable;
    for (int version = found.expanded + 1; version <= NewestSchemaVersion(); ++version) Expand(connection, version);
    if (found.expanded == 0) {
      // No server of any level is there.
      connection.Exec(absl::StrCat("UPDATE settings SET level = ", keys::kNewestLevel));
      Contract(connection);
    }
    return absl::OkStatus();
  });
}

absl::Status ContractOn(Connection& connection) {
  return InMigration(connection, [&connection]() -> absl::Status {
    if (absl::Status usable = CheckSchemaState(StateIn(connection)); !usable.ok()) return usable;
    Contract(connection);
    return absl::OkStatus();
  });
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

absl::StatusOr<SchemaState> ReadSchemaState(const std::string& connection_string) {
  const postgres::SessionSettings settings;
  postgres::Watchdog dog(settings.statement_timeout + absl::Seconds(1));
  SchemaState state;
  absl::Status status =
      WithConnection(connection_string, "reading the schema version", &dog, [&](Connection& connection) {
        if (absl::Status encoding = CheckEncoding(connection); !encoding.ok()) return encoding;
        state = StateIn(connection);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return state;
}

absl::Status CheckSchemaState(const SchemaState& state) {
  if (absl::Status usable = CheckNotBeyond(state); !usable.ok()) return usable;
  if (state.expanded >= NewestSchemaVersion()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the database has schema version ", state.expanded,
                                                    ", this build wants ", NewestSchemaVersion(),
                                                    "; run latchkeyd migrate"));
}

absl::Status ContractSchema(const std::string& connection_string) {
  return WithConnection(connection_string, "contracting the schema", nullptr, ContractOn);
}

}  // namespace latchkey::storage
