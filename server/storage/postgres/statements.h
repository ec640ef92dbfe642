#pragma once

#include <string>
#include <vector>

namespace latchkey::storage::postgres {

// A prepared statement. Its name is what Connection::Run takes.
struct Statement {
  const char* name;
  std::string sql;
};

// All of them.
const std::vector<Statement>& Statements();

// The columns that rows.h reads by their names, those of record_fields.h, of `keys AS k`, `roles AS r`, `organizations
// AS o`.
#define LATCHKEY_KEY_COLUMNS                                                                                         \
  "k.organization, k.kid, k.display_name, k.description, k.role, k.owner, k.labels, k.key_hint, k.creator, "         \
  "k.creator_kid, k.created_at, k.updated_at, k.expires_at, k.deleted_at, k.purge_at, k.delete_reason, k.revision, " \
  "(SELECT string_agg(s.version || ',' || s.created_at || ',' || s.expires_at, ';' ORDER BY s.version) "             \
  "FROM secret_versions s WHERE s.kid = k.kid) AS versions, to_json(k.allowed_cidrs) AS allowed_cidrs"
// One more column, for UsedKeyFrom.
#define LATCHKEY_KEY_USE \
  "(SELECT string_agg(u.version || ',' || u.last_used_at, ';') FROM key_use u WHERE u.kid = k.kid) AS uses"
#define LATCHKEY_SETTINGS_COLUMNS "s.bound_us, s.previous_bound_us, s.changed_at, s.level"
#define LATCHKEY_ROLE_COLUMNS                                                                                         \
  "r.organization, r.id, r.display_name, r.description, r.documentation_uri, to_json(r.permissions) AS permissions, " \
  "r.created_at, "                                                                                                    \
  "r.updated_at, r.revision, false AS removed"
#define LATCHKEY_ORGANIZATION_COLUMNS \
  "o.id, o.display_name, o.created_at, o.updated_at, o.deleted_at, o.max_keys, o.revision"

}  // namespace latchkey::storage::postgres
