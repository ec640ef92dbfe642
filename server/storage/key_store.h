#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/keys/records.h"

namespace latchkey::storage {

// What a mutation must hold still while it decides. The store takes the locks in one order: keys by kid, custom roles
// by (organization, id), the organization, last the log head.
struct LockPlan {
  // Keys to lock: the caller's, the target's, the target's creator's. Any order, duplicates are fine; a kid that has no
  // row is simply absent from LockedState::keys.
  std::vector<std::string> kids;
  // Custom roles to lock beside those that the locked keys hold: (organization, role id). Built-in ids are fine, they
  // have no row.
  std::vector<std::pair<std::string, std::string>> roles;
  // The organization whose row is read, and locked if `lock_organization`.
  std::string organization;
  bool lock_organization = false;
  // Reads the live keys created by this kid; "" = none.
  std::string children_of;
  // Counts the live keys without expiry that hold role "owner" in `organization`, beside `kids`.
  bool count_other_owners = false;
  // An idempotency id (AIP-155): unique per (request_scope, request_id); "" = none.
  std::string request_scope;
  std::string request_id;
};

// What was read after the locks were held.
struct LockedState {
  absl::Time now;                                                         // The database's clock.
  std::map<std::string, keys::KeyRecord> keys;                            // By kid; deleted ones too.
  std::map<std::pair<std::string, std::string>, keys::RoleRecord> roles;  // Custom ones, by (organization, id).
  std::optional<keys::OrganizationRecord> organization;                   // Deleted ones too.
  std::vector<keys::KeyRecord> children;                                  // Not deleted.
  std::map<std::pair<std::string, std::string>, keys::RoleRecord>
      children_roles;  // Custom roles of `children`; not locked.
  int other_owners = 0;
  bool owner_ever = false;    // Some key with role "owner" has ever been stored in `system`.
  std::string replayed_name;  // Not "": this request_id was used before, for this resource.
};

// What to write. Empty changes = nothing to do; the transaction ends without a log row.
struct Mutation {
  std::vector<keys::Change> changes;
  std::string request_name;  // With a request_id: the resource it made.
};

// The outcome of a commit: its log rows, oldest first (empty for an empty Mutation).
struct Committed {
  std::vector<keys::LogRow> rows;
};

// The whole of what an index shows, at one revision.
struct Snapshot {
  keys::LogPosition position;
  absl::Time now;                                       // The database's clock in that transaction.
  std::vector<keys::OrganizationRecord> organizations;  // Deleted ones too.
  std::vector<keys::RoleRecord> roles;
  std::vector<keys::KeyRecord> keys;  // Deleted ones too, until purged.
};

// A page of the log. `rows` starts with the row AT the cursor, so that its chain can be compared; if the first row is
// not the cursor's, that history is gone.
struct LogPage {
  int64_t head = 0;  // The newest revision in the same transaction.
  absl::Time now;
  std::vector<keys::LogRow> rows;
};

struct KeyQuery {
  std::string organization;
  bool show_deleted = false;
  // Keyset: keys older than this position, newest first. `before_kid` empty = from the newest.
  absl::Time before_created_at = absl::InfiniteFuture();
  std::string before_kid;
  int limit = 50;
};

// Where keys live. Two implementations pass the same contract suite (tests/contract): PostgresKeyStore and
// MemoryKeyStore. Thread-safe; every call may block. Errors are from the catalogue (server/base/errors.h):
// DATABASE_UNAVAILABLE if nothing was changed and a retry may help, OUTCOME_UNKNOWN if a commit could not be confirmed,
// CONTENDED if lock waits and retries ran out, INTERNAL otherwise.
class KeyStore {
 public:
  using Decide = absl::FunctionRef<absl::StatusOr<Mutation>(const LockedState&)>;

  virtual ~KeyStore() = default;

  // The only way anything is written: locks, reads, asks `decide`, writes the after-images, appends their bodies to the
  // change log (revisions without gaps, in commit order; the chain as in LogRow) and commits, all or nothing. The
  // records' `revision` becomes the row's rev. `decide` may be called again after a serialisation failure; if it
  // returns an error, that error is returned and nothing is written. Returns once the change is durable.
  virtual absl::StatusOr<Committed> Commit(const LockPlan& plan, Decide decide) = 0;

  // One repeatable-read snapshot.
  virtual absl::StatusOr<Snapshot> LoadSnapshot() = 0;
  // At most `limit` rows (≥ 2) with rev ≥ cursor, ascending.
  virtual absl::StatusOr<LogPage> ReadLog(int64_t cursor, int limit) = 0;

  // nullopt if there is none. Deleted ones too.
  virtual absl::StatusOr<std::optional<keys::KeyRecord>> ReadKey(const std::string& kid) = 0;
  virtual absl::StatusOr<std::optional<keys::OrganizationRecord>> ReadOrganization(const std::string& id) = 0;
  // Newest first by (created_at, kid), at most query.limit.
  virtual absl::StatusOr<std::vector<keys::KeyRecord>> ListKeys(const KeyQuery& query) = 0;
  // By id, those after `after_id` ("" = from the first), at most `limit`.
  virtual absl::StatusOr<std::vector<keys::OrganizationRecord>> ListOrganizations(const std::string& after_id,
                                                                                  bool show_deleted, int limit) = 0;
  // Custom roles of one organization, by id.
  virtual absl::StatusOr<std::vector<keys::RoleRecord>> ListRoles(const std::string& organization) = 0;
  // The stored secrets of a key, oldest first; empty if it has none.
  virtual absl::StatusOr<std::vector<keys::StoredSecret>> ReadSecrets(const std::string& kid) = 0;

  // Stores each (id, check value) that is not there yet and returns what is stored for all the ids given, so that the
  // caller can compare: a different value means a different key ring.
  virtual absl::StatusOr<std::map<std::string, std::string>> SettleKeyRingChecks(
      const std::map<std::string, std::string>& checks) = 0;
};

}  // namespace latchkey::storage
