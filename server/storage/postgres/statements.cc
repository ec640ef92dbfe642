#include "server/storage/postgres/statements.h"

#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/model/record_fields.h"

namespace latchkey::storage::postgres {

// core::HistoryId of the session's database, as a signed number. Fails on a standby, which has no timeline of its own.
#define HISTORY                                                                                                        \
  "(SELECT ('x' || encode(substr(sha256(coalesce((SELECT chain FROM change_log WHERE rev = 0), '') || "                \
  "int8send(system_identifier) || int8send(('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint) " \
  "|| timestamptz_send(pg_postmaster_start_time())), 1, 8), 'hex'))::bit(64)::bigint FROM pg_control_system()) "       \
  "AS history"

// One statement is one snapshot: head, settings, rows and proofs agree. $1 = the cursor, $2 = the limit.
#define LOG_PAGE                                                                                                \
  "h.rev, (SELECT min(rev) FROM change_log), (SELECT clock_timestamp()), " LATCHKEY_SETTINGS_COLUMNS            \
  ", c.rev, c.at, c.body, c.chain, c.kid, (SELECT string_agg(p.version || ',' || p.generation::text || ',' || " \
  "encode(p.digest, 'hex'), ';') FROM proofs p WHERE p.kid = c.kid), " HISTORY                                  \
  " FROM log_head h CROSS JOIN settings s "                                                                     \
  "LEFT JOIN LATERAL (SELECT * FROM change_log l WHERE l.rev >= $1 ORDER BY l.rev LIMIT $2) c ON true ORDER BY c.rev"

namespace {

// The n-th is parameter $n of the two statements below; after_images.cc has the values by the same list of fields.
std::vector<std::string> KeyColumns() {
  std::vector<std::string> columns;
  const keys::KeyRecord key;
  keys::VisitFields(key, [&]<typename T>(const char* name, const T&, const keys::InBody& = {}) {
    // Versions have a table of their own.
    if constexpr (!std::is_same_v<T, std::vector<keys::SecretVersion>>) columns.push_back(name);
  });
  return columns;
}

std::string InsertKey() {
  std::vector<std::string> values;
  for (size_t i = 0; i < KeyColumns().size(); ++i) values.push_back(absl::StrCat("$", i + 1));
  return absl::StrCat("INSERT INTO keys (", absl::StrJoin(KeyColumns(), ", "), ") VALUES (",
                      absl::StrJoin(values, ", "), ")");
}

std::string UpdateKey() {
  std::vector<std::string> assignments;
  std::string condition;
  int number = 0;
  for (const std::string& column : KeyColumns()) {
    std::string assignment = absl::StrCat(column, " = $", ++number);
    if (column == "kid") {
      condition = std::move(assignment);
    } else {
      assignments.push_back(std::move(assignment));
    }
  }
  return absl::StrCat("UPDATE keys SET ", absl::StrJoin(assignments, ", "), " WHERE ", condition);
}

}  // namespace

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
       "SELECT k.organization, k.role, count(*), count(*) FILTER (WHERE "
       "(k.expires_at > coalesce(clock_timestamp() + nullif($3, '')::interval, $2::timestamptz) "
       "AND k.expires_at > clock_timestamp()) OR (cardinality($4::text[]) > 0 AND (cardinality(k.allowed_cidrs) = 0 "
       "OR EXISTS (SELECT 1 FROM unnest(k.allowed_cidrs) AS of_child (block) WHERE NOT EXISTS (SELECT 1 "
       "FROM unnest($4::text[]) AS own (block) WHERE of_child.block::inet <<= own.block::inet))))) "
       "FROM keys k WHERE k.creator_kid = $1 AND k.creator_kid <> '' AND k.deleted_at = 'infinity' "
       "GROUP BY k.organization, k.role ORDER BY k.organization, k.role"},
      {"facts",
       "SELECT clock_timestamp(), EXISTS (SELECT 1 FROM milestones WHERE name = 'system_owner'), "
       "(SELECT name FROM request_ids WHERE scope = $1 AND request_id = $2), "
       "CASE WHEN $3::boolean THEN (SELECT count(*) FROM keys k WHERE k.organization = $4 AND k.role = 'owner' AND "
       "k.deleted_at = 'infinity' AND k.expires_at = 'infinity' AND k.kid <> ALL($5::text[])) ELSE 0 "
       "END, (SELECT count(*) FROM (SELECT FROM keys k WHERE $6::integer > 0 AND k.organization = $4 AND "
       "k.deleted_at = 'infinity' LIMIT (SELECT CASE WHEN o.max_keys > 0 THEN o.max_keys ELSE $6::integer END "
       "FROM organizations o WHERE o.id = $4)) AS counted), " LATCHKEY_SETTINGS_COLUMNS " FROM settings s"},

      // --- After-images.
      {"insert_key", InsertKey()},
      {"update_key", UpdateKey()},
      {"put_version",
       "INSERT INTO secret_versions (kid, version, created_at, expires_at) VALUES ($1, $2, $3, $4) "
       "ON CONFLICT (kid, version) DO UPDATE SET created_at = excluded.created_at, expires_at = excluded.expires_at"},
      {"put_hash", "UPDATE secret_versions SET hash = $3, pepper_id = $4 WHERE kid = $1 AND version = $2"},
      {"put_proof",
       "INSERT INTO proofs (kid, version, generation, digest) VALUES ($1, $2, $3, decode($4, 'hex')) "
       "ON CONFLICT (kid, version) DO UPDATE SET generation = excluded.generation, digest = excluded.digest"},
      {"drop_proof", "DELETE FROM proofs WHERE kid = $1 AND version = $2"},
      {"drop_versions", "DELETE FROM secret_versions WHERE kid = $1 AND version <> ALL($2::integer[])"},
      {"insert_organization",
       "INSERT INTO organizations (id, display_name, created_at, updated_at, deleted_at, max_keys) "
       "VALUES ($1, $2, $3, $4, $5, $6)"},
      {"update_organization",
       "UPDATE organizations SET display_name = $2, created_at = $3, updated_at = $4, deleted_at = $5, max_keys = $6 "
       "WHERE id = $1"},
      {"put_role",
       "INSERT INTO roles (organization, id, display_name, description, documentation_uri, permissions, created_at, "
       "updated_at) VALUES ($1, $2, $3, $4, $5, $6::text[], $7, $8) ON CONFLICT (organization, id) DO UPDATE SET "
       "display_name = excluded.display_name, description = excluded.description, "
       "documentation_uri = excluded.documentation_uri, permissions = excluded.permissions, "
       "created_at = excluded.created_at, updated_at = excluded.updated_at"},
      {"drop_role", "DELETE FROM roles WHERE organization = $1 AND id = $2"},
      // Only if the change knew of the bound that leases are granted by now, and of the level.
      {"put_settings",
       "UPDATE settings SET bound_us = $1, previous_bound_us = $2, changed_at = $3, level = $4 "
       "WHERE bound_us <= $2 AND level <= $4"},
      // And forgets those of its caller beyond the newest ten thousand, and those of a day ago: two of each, so that a
      // row
      // more makes it a row less. Nobody waits for another who is at the same ones.
      {"insert_request_id",
       "WITH own AS MATERIALIZED (SELECT ctid FROM request_ids WHERE scope = $1 ORDER BY created_at DESC "
       "OFFSET 10000 LIMIT 2 FOR UPDATE SKIP LOCKED), old AS MATERIALIZED (SELECT ctid FROM request_ids "
       "WHERE created_at < clock_timestamp() - interval '1 day' ORDER BY created_at LIMIT 2 FOR UPDATE SKIP LOCKED), "
       "gone AS (DELETE FROM request_ids WHERE ctid = ANY(ARRAY(SELECT ctid FROM own UNION ALL SELECT ctid FROM old))) "
       "INSERT INTO request_ids (scope, request_id, name) VALUES ($1, $2, $3)"},
      {"first_system_owner", "INSERT INTO milestones (name) VALUES ('system_owner')"},

      // --- The end of a transaction.
      // Forgets two for each that it adds; nobody waits for another who is at the same ones.
      {"insert_token",
       "WITH old AS MATERIALIZED (SELECT ctid FROM commit_tokens WHERE rev < (SELECT rev - 100000 FROM log_head) "
       "AND at < clock_timestamp() - interval '1 hour' ORDER BY rev LIMIT 2 FOR UPDATE SKIP LOCKED), "
       "gone AS (DELETE FROM commit_tokens WHERE ctid = ANY(ARRAY(SELECT ctid FROM old))) "
       "INSERT INTO commit_tokens (token, rev) SELECT decode($1, 'hex'), h.rev FROM log_head h"},
      // Rows and token have one writer. The limit keeps it on the log's index: others come in between while the head's
      // lock is waited for, but not so many.
      {"token_rows", "SELECT c.rev, c.at, c.body, c.chain, " HISTORY " FROM commit_tokens t CROSS JOIN LATERAL "
                     "(SELECT l.rev, l.at, l.body, l.chain, l.xmin FROM change_log l WHERE l.rev > t.rev ORDER BY "
                     "l.rev LIMIT 100000) c "
                     "WHERE t.token = decode($1, 'hex') AND c.xmin::text = t.xmin::text ORDER BY c.rev"},

      // --- Reads.
      {"read_head", "SELECT h.rev, h.chain, clock_timestamp(), " LATCHKEY_SETTINGS_COLUMNS ", " HISTORY
                    " FROM log_head h CROSS JOIN settings s"},
      {"read_log", "SELECT " LOG_PAGE},
      {"read_chain", "SELECT chain FROM change_log WHERE rev = $1"},
      {"read_settings", "SELECT " LATCHKEY_SETTINGS_COLUMNS " FROM settings s"},
      {"read_key",
       "SELECT " LATCHKEY_KEY_COLUMNS ", " LATCHKEY_KEY_USE " FROM keys k WHERE k.kid = $1 AND k.organization = $2"},
      {"read_organization", "SELECT " LATCHKEY_ORGANIZATION_COLUMNS " FROM organizations o WHERE o.id = $1"},
      // Two statements: each has an index with what it shows and nothing else, so that a page reads no more than it
      // shows.
      {"list_keys", "SELECT " LATCHKEY_KEY_COLUMNS ", " LATCHKEY_KEY_USE
                    " FROM keys k WHERE k.organization = $1 AND (k.created_at, k.kid) < ($2::timestamptz, $3) "
                    "ORDER BY k.created_at DESC, k.kid DESC LIMIT $4"},
      {"list_live_keys",
       "SELECT " LATCHKEY_KEY_COLUMNS ", " LATCHKEY_KEY_USE
       " FROM keys k WHERE k.organization = $1 AND k.deleted_at = 'infinity' AND "
       "(k.created_at, k.kid) < ($2::timestamptz, $3) ORDER BY k.created_at DESC, k.kid DESC LIMIT $4"},
      {"list_organizations",
       "SELECT " LATCHKEY_ORGANIZATION_COLUMNS
       " FROM organizations o WHERE o.id > $1 AND ($2::boolean OR o.deleted_at = 'infinity') ORDER BY o.id LIMIT $3"},
      {"list_roles",
       "SELECT " LATCHKEY_ROLE_COLUMNS " FROM roles r WHERE r.organization = $1 AND r.id > $2 ORDER BY r.id LIMIT $3"},
      {"read_secrets",
       "SELECT s.version, s.hash, s.pepper_id, p.generation, p.digest FROM secret_versions s "
       "LEFT JOIN proofs p ON p.kid = s.kid AND p.version = s.version "
       "WHERE s.kid = $1 AND s.hash IS NOT NULL ORDER BY s.version"},
      {"read_replicas",
       "SELECT r.replica, r.beat, r.applied_rev, coalesce(r.others_rev, r.acknowledged_rev), r.doorbell, "
       "r.oldest_level, r.newest_level, b.organization, b.rev FROM replica_lease r LEFT JOIN LATERAL "
       "unnest(r.behind_organizations, r.behind_revs) AS b (organization, rev) ON true "
       "ORDER BY r.replica, b.organization"},

      // --- Replicas.
      // seen_at is for servers of release 0, which forget others by it; a wall clock that is wrong is not to be
      // believed.
      {"enter_replica",
       "INSERT INTO replica_lease (replica, doorbell, oldest_level, newest_level) VALUES ($1, $2, $3, $4) "
       "ON CONFLICT (replica) DO UPDATE SET doorbell = excluded.doorbell, seen_at = excluded.seen_at"},
      {"leave_replica", "DELETE FROM replica_lease WHERE replica = $1"},
      {"forget_replica", "DELETE FROM replica_lease WHERE replica = $1 AND beat = $2"},
      {"find_replica", "SELECT FROM replica_lease WHERE replica = $1"},
      // Write and page in one statement: they have one snapshot, and on a standby there is neither.
      {"renew_lease",
       "WITH beat AS (UPDATE replica_lease SET beat = beat + 1, applied_rev = $4, acknowledged_rev = $5, "
       "others_rev = $6, behind_organizations = $7::text[], behind_revs = $8::bigint[], "
       "seen_at = clock_timestamp() WHERE replica = $3 AND ($9 = '' OR EXISTS (SELECT 1 FROM change_log "
       "WHERE rev = $1 AND chain = decode($9, 'hex'))) RETURNING 1) SELECT (SELECT count(*) FROM beat), " LOG_PAGE},

      // --- Beside the log. Each batch takes its rows in one order.
      // The lock on the version is the foreign key's, taken early: a version that goes meanwhile takes its proof out of
      // the batch instead of failing it.
      {"put_proofs",
       "INSERT INTO proofs AS p (kid, version, generation, digest) "
       "SELECT s.kid, s.version, given.generation::\"char\", decode(given.digest, 'hex') "
       "FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[]) AS given (kid, version, generation, digest) "
       "JOIN secret_versions s ON s.kid = given.kid AND s.version = given.version "
       "ORDER BY s.kid, s.version FOR KEY SHARE OF s ON CONFLICT (kid, version) "
       "DO UPDATE SET generation = excluded.generation, digest = excluded.digest "
       "WHERE p.generation <> excluded.generation"},
      {"forget_reports",
       "DELETE FROM use_reports WHERE ctid = ANY(ARRAY(SELECT ctid FROM use_reports "
       "WHERE at < clock_timestamp() - interval '1 day' ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED))"},
      {"put_reports",
       "INSERT INTO use_reports (reporter, request_id) "
       "SELECT given.reporter, given.id FROM unnest($1::text[], $2::text[]) AS given (reporter, id) "
       "ORDER BY given.reporter COLLATE \"C\", given.id COLLATE \"C\" ON CONFLICT DO NOTHING "
       "RETURNING reporter, request_id"},
      {"put_use",
       "INSERT INTO key_use AS u (kid, version, last_used_at) SELECT given.kid, given.version, given.used_at "
       "FROM unnest($1::text[], $2::integer[], $3::timestamptz[]) AS given (kid, version, used_at) "
       "WHERE EXISTS (SELECT 1 FROM keys k WHERE k.kid = given.kid) ORDER BY given.kid COLLATE \"C\", given.version "
       "ON CONFLICT (kid, version) DO UPDATE SET last_used_at = excluded.last_used_at "
       "WHERE u.last_used_at < excluded.last_used_at"},
      {"put_use_hours",
       "INSERT INTO key_use_hours AS u (kid, version, hour, decision, count) "
       "SELECT given.kid, given.version, given.hour, given.decision, given.count "
       "FROM unnest($1::text[], $2::integer[], $3::timestamptz[], $4::smallint[], $5::bigint[]) "
       "AS given (kid, version, hour, decision, count) WHERE EXISTS (SELECT 1 FROM keys k WHERE k.kid = given.kid) "
       "ORDER BY given.kid COLLATE \"C\", given.version, given.hour, given.decision "
       "ON CONFLICT (kid, version, hour, decision) DO UPDATE SET count = least(u.count::numeric + excluded.count, "
       "9223372036854775807)::bigint"},

      // --- The key ring.
      {"put_checks",
       "INSERT INTO key_ring_checks (id, check_value) SELECT id, decode(value, 'hex') "
       "FROM unnest($1::text[], $2::text[]) AS given (id, value) ORDER BY id ON CONFLICT (id) DO NOTHING"},
      {"read_checks", "SELECT id, check_value FROM key_ring_checks WHERE id = ANY($1::text[])"},
  };
  return *statements;
}

}  // namespace latchkey::storage::postgres
