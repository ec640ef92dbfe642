#include "server/storage/postgres/statements.h"

namespace latchkey::storage::postgres {

const std::vector<Statement>& Statements() {
  static const auto* const statements = new std::vector<Statement>{
      // --- A place in the queue for each key. Row locks have none: whoever comes just as one is released takes it from
      // those who wait, and a key that mints at full speed would hold up its own revocation.
      {"queue_for_keys",
       "SELECT pg_advisory_xact_lock(hashtextextended(kid, 7809640615022814585)) "
       "FROM (SELECT DISTINCT kid COLLATE \"C\" AS kid FROM unnest($1::text[]) AS kid ORDER BY 1) AS kids"},

      // --- Locks, each in the one order. FOR NO KEY UPDATE: a weaker lock lets a ceiling be outrun, a stronger one
      // collides with the foreign keys' checks.
      {"lock_keys",
       "SELECT k.organization, k.role FROM keys k WHERE k.kid = ANY($1::text[]) ORDER BY k.kid FOR NO KEY UPDATE"},
      {"lock_roles",
       "SELECT r.id FROM roles r WHERE (r.organization, r.id) IN (SELECT * FROM unnest($1::text[], $2::text[])) "
       "ORDER BY r.organization, r.id FOR NO KEY UPDATE"},
      {"lock_organization", "SELECT o.id FROM organizations o WHERE o.id = $1 FOR NO KEY UPDATE"},

      // --- What `decide` is shown.
      {"keys_by_kid", "SELECT " LATCHKEY_KEY_COLUMNS " FROM keys k WHERE k.kid = ANY($1::text[])"},
      {"roles_by_id", "SELECT " LATCHKEY_ROLE_COLUMNS
                      " FROM roles r WHERE (r.organization, r.id) IN (SELECT * FROM unnest($1::text[], $2::text[]))"},
      {"children",
       "SELECT " LATCHKEY_KEY_COLUMNS
       " FROM keys k WHERE k.creator_kid = $1 AND k.creator_kid <> '' AND k.deleted_at = 'infinity' ORDER BY k.kid"},
      {"facts",
       "SELECT clock_timestamp(), EXISTS (SELECT 1 FROM milestones WHERE name = 'system_owner'), "
       "(SELECT name FROM request_ids WHERE scope = $1 AND request_id = $2), "
       "CASE WHEN $3::boolean THEN (SELECT count(*) FROM keys k WHERE k.organization = $4 AND k.role = 'owner' AND "
       "k.deleted_at = 'infinity' AND k.expires_at = 'infinity' AND k.kid <> ALL($5::text[])) ELSE 0 END"},

      // --- After-images.
      {"insert_key",
       "INSERT INTO keys (organization, kid, display_name, description, role, owner, labels, key_hint, creator, "
       "creator_kid, created_at, updated_at, expires_at, deleted_at, purge_at, delete_reason) "
       "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"},
      {"update_key",
       "UPDATE keys SET organization = $1, display_name = $3, description = $4, role = $5, owner = $6, labels = $7, "
       "key_hint = $8, creator = $9, creator_kid = $10, created_at = $11, updated_at = $12, expires_at = $13, "
       "deleted_at = $14, purge_at = $15, delete_reason = $16 WHERE kid = $2"},
      {"put_version",
       "INSERT INTO secret_versions (kid, version, created_at, expires_at) VALUES ($1, $2, $3, $4) "
       "ON CONFLICT (kid, version) DO UPDATE SET created_at = excluded.created_at, expires_at = excluded.expires_at"},
      {"put_hash", "UPDATE secret_versions SET hash = $3, pepper_id = $4 WHERE kid = $1 AND version = $2"},
      {"drop_versions", "DELETE FROM secret_versions WHERE kid = $1 AND version <> ALL($2::integer[])"},
      {"insert_organization",
       "INSERT INTO organizations (id, display_name, created_at, updated_at, deleted_at) VALUES ($1, $2, $3, $4, $5)"},
      {"update_organization",
       "UPDATE organizations SET display_name = $2, created_at = $3, updated_at = $4, deleted_at = $5 WHERE id = $1"},
      {"put_role",
       "INSERT INTO roles (organization, id, display_name, description, documentation_uri, permissions, created_at, "
       "updated_at) VALUES ($1, $2, $3, $4, $5, $6::text[], $7, $8) ON CONFLICT (organization, id) DO UPDATE SET "
       "display_name = excluded.display_name, description = excluded.description, "
       "documentation_uri = excluded.documentation_uri, permissions = excluded.permissions, "
       "created_at = excluded.created_at, updated_at = excluded.updated_at"},
      {"drop_role", "DELETE FROM roles WHERE organization = $1 AND id = $2"},
      {"insert_request_id", "INSERT INTO request_ids (scope, request_id, name) VALUES ($1, $2, $3)"},
      {"first_system_owner", "INSERT INTO milestones (name) VALUES ('system_owner')"},

      // --- The end of a transaction.
      {"transaction_id", "SELECT pg_current_xact_id(), h.rev FROM log_head h"},
      {"transaction_status", "SELECT pg_xact_status($1::text::xid8)"},

      // --- Reads.
      {"read_head", "SELECT h.rev, h.chain, clock_timestamp() FROM log_head h"},
      // One statement is one snapshot: the head and the rows agree.
      {"read_log",
       "SELECT h.rev, clock_timestamp(), c.rev, c.at, c.body, c.chain FROM log_head h LEFT JOIN LATERAL "
       "(SELECT * FROM change_log l WHERE l.rev >= $1 ORDER BY l.rev LIMIT $2) c ON true ORDER BY c.rev"},
      {"read_key", "SELECT " LATCHKEY_KEY_COLUMNS " FROM keys k WHERE k.kid = $1"},
      {"read_organization", "SELECT " LATCHKEY_ORGANIZATION_COLUMNS " FROM organizations o WHERE o.id = $1"},
      {"list_keys", "SELECT " LATCHKEY_KEY_COLUMNS
                    " FROM keys k WHERE k.organization = $1 AND ($2::boolean OR k.deleted_at = 'infinity') AND "
                    "(k.created_at, k.kid) < ($3::timestamptz, $4) ORDER BY k.created_at DESC, k.kid DESC LIMIT $5"},
      {"list_organizations",
       "SELECT " LATCHKEY_ORGANIZATION_COLUMNS
       " FROM organizations o WHERE o.id > $1 AND ($2::boolean OR o.deleted_at = 'infinity') ORDER BY o.id LIMIT $3"},
      {"list_roles", "SELECT " LATCHKEY_ROLE_COLUMNS " FROM roles r WHERE r.organization = $1 ORDER BY r.id"},
      {"read_secrets",
       "SELECT version, hash, pepper_id FROM secret_versions WHERE kid = $1 AND hash IS NOT NULL ORDER BY version"},
      {"put_checks",
       "INSERT INTO key_ring_checks (id, check_value) SELECT id, decode(value, 'hex') "
       "FROM unnest($1::text[], $2::text[]) AS given (id, value) ORDER BY id ON CONFLICT (id) DO NOTHING"},
      {"read_checks", "SELECT id, check_value FROM key_ring_checks WHERE id = ANY($1::text[])"},
  };
  return *statements;
}

}  // namespace latchkey::storage::postgres
