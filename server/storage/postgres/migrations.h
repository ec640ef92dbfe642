#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Migrations of the schema, in two halves so that two releases can share a database: a step is *expanded* as soon as a
// newer server meets the database, and *contracted* once the installation is at the step's feature level: no server of
// the level before is left then. Until then, going back is starting the older server.
//
// schema_migrations(version, applied_at) has the steps without which no server may run; release 0 wrote its two there,
// and refuses to start where it finds one that it does not know. A step of a higher level is in
// schema_expansions(version, level, applied_at, contracted_at), and in schema_migrations too from the moment in which
// the level is raised.
namespace latchkey::storage {

// The steps that this build knows.
int NewestSchemaVersion();

// FAILED_PRECONDITION if libpq can't parse it: why, with nothing of it quoted. Talks to nobody.
absl::Status CheckConnectionString(const std::string& connection_string);

// Expands what is not expanded yet: forward only, all in one transaction under an advisory lock, so that any number of
// replicas may start at once on an empty database. That one is made complete at once, at the newest feature level: no
// older server has it. Nothing happens if it is there already. FAILED_PRECONDITION if the database is beyond this build
// (LEVEL_UNREADABLE if by its feature level), its encoding is not UTF8, the role may not make tables, or
// CheckConnectionString says so; DATABASE_UNAVAILABLE, with libpq's reason, if it can't be reached or refuses;
// UNAVAILABLE if another session holds its tables, or migrates, for a minute. Servers that run meanwhile are held up by
// 0.15 s a table at most, each second.
// `connection_string`: libpq's, either form.
absl::Status Migrate(const std::string& connection_string);

// What a database has.
struct SchemaState {
  int expanded = 0;  // The newest step that is expanded; 0 = none of ours yet. May be beyond this build.
  int required = 0;  // The newest step without which no server may run.
  int level = 0;     // The installation's feature level; release 0's, if the database knows of none.
  // Steps of the installation's level or below are not contracted yet: `latchkeyd upgrade finish` was interrupted.
  bool contracted = true;
};
// Errors as of Migrate, but for what it makes of the answer.
absl::StatusOr<SchemaState> ReadSchemaState(const std::string& connection_string);
// OK if this build can serve on a database that has `state`. FAILED_PRECONDITION: it is to be migrated, or is beyond
// this build (LEVEL_UNREADABLE if by its level).
absl::Status CheckSchemaState(const SchemaState& state);

// Contracts the steps of the installation's feature level and below that are not contracted yet, in one transaction
// under the same lock. FAILED_PRECONDITION as CheckSchemaState; other errors as of Migrate.
absl::Status ContractSchema(const std::string& connection_string);

}  // namespace latchkey::storage
