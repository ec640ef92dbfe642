#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/core/revision_token.h"
#include "server/model/acknowledgements.h"
#include "server/model/records.h"

namespace latchkey::storage {

// Which keys of one creator to sum up, and which of those to tell apart because they go beyond it.
struct ChildrenQuery {
  std::string creator_kid;  // "" = none is asked for.
  // A child goes beyond its creator if it ends later (`ttl`: that long from the database's now, instead of `end`) and
  // is not over, or may be used from an address that these blocks do not allow (empty = all do).
  absl::Time end = keys::Never();
  std::optional<absl::Duration> ttl = std::nullopt;
  std::vector<std::string> allowed_cidrs = {};
};

// The live keys of one creator that hold one role, as a sum: it costs the same however many they are.
struct ChildGroup {
  std::string organization;
  std::string role;
  int64_t count = 0;
  int64_t beyond = 0;  // Of those.
};

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
  ChildrenQuery children;
  // Counts the live keys without expiry that hold role "owner" in `organization`, beside `kids`.
  bool count_other_owners = false;
  // Counts the live keys of `organization`, up to its quota.
  bool count_keys = false;
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
  std::vector<ChildGroup> children;                                       // By organization and role.
  std::map<std::pair<std::string, std::string>, keys::RoleRecord>
      children_roles;  // Custom roles of `children`; not locked.
  // Not locked: a change of them whose previous_bound is below the bound that is stored by then counts as contention,
  // so that no lease is ever granted for longer than the next setting knows of.
  keys::Settings settings;
  int other_owners = 0;
  int live_keys = 0;          // At most the organization's key_quota().
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
  // That it was committed in, read within its transaction; kNoHistory if that is not certain.
  core::HistoryId history = core::kNoHistory;
};

// What an index shows of a version of a key: every version of the record, whether or not it has a secret.
struct SnapshotVersion {
  int32_t id = 1;
  absl::Time expires_at = keys::Never();
  keys::Proof proof;
};

// What an index shows of a key. The views are good during the call that hands it out only.
struct SnapshotKey {
  std::string_view organization;
  std::string_view kid;
  std::string_view display_name;
  std::string_view role;
  std::string_view owner;
  absl::Span<const std::pair<std::string_view, std::string_view>> labels;  // Sorted by name.
  absl::Span<const std::string_view> allowed_cidrs;
  absl::Time expires_at = keys::Never();
  absl::Time purge_at = keys::Never();
  bool deleted = false;
  absl::Span<const SnapshotVersion> versions;  // Oldest first.
};

// Takes a snapshot as it is read, so that a million keys are in memory once. Begin, then organizations and roles, then
// keys, each key once, in no promised order; if the connection breaks on the way, it all starts anew with another
// Begin. Called by the thread that loads; must not call the store.
class SnapshotSink {
 public:
  virtual ~SnapshotSink() = default;
  // `key_count`: how many keys will come.
  virtual void Begin(const keys::LogPosition& position, int64_t key_count) = 0;
  virtual void Add(const keys::OrganizationRecord& organization) = 0;  // Deleted ones too.
  virtual void Add(const keys::RoleRecord& role) = 0;
  virtual void Add(const SnapshotKey& key) = 0;  // Deleted ones too, until purged.
};

// What a snapshot says beside its content.
struct SnapshotHead {
  keys::LogPosition position;
  absl::Time now;  // The database's clock in that transaction.
  keys::Settings settings;
  core::HistoryId history = core::kNoHistory;
};

// A page of the log. `rows` starts with the row AT the cursor, so that its chain can be compared; if the first row is
// not the cursor's, that history is gone.
struct LogPage {
  int64_t head = 0;    // The newest revision in the same transaction.
  int64_t oldest = 0;  // The oldest row that is still kept.
  // Another one after every promotion of a standby, restore or restart: some commits may be lost, and what was read
  // before may be of a history that is over, although the cursor's row is in both.
  core::HistoryId history = core::kNoHistory;
  absl::Time now;  // The database's clock in that transaction.
  keys::Settings settings;
  std::vector<keys::LogRow> rows;
  // The stored proofs of the keys that `rows` show, each once; none for rows that a server older than proofs wrote.
  std::vector<keys::KeyProof> proofs;
};

// A server as the others see it: one row of replica_lease, written with every renewal.
struct Replica {
  std::string id;    // Random, a new one with every start of the process.
  int64_t beat = 0;  // Rises with every renewal.
  // The newest revision that its index has applied, and that its subscribed clients have acknowledged (the same if it
  // has none). INT64_MAX applied: it has stopped, and answers no more; its row stays for its clients' last leases.
  int64_t applied_revision = 0;
  Acknowledgements acknowledged;
  std::string doorbell;  // Where it hears a peer's ring, host:port; "" = nowhere.
  // The feature levels that it reads (server/model/feature_level.h).
  int oldest_level = 0;
  int newest_level = 0;
};

// What a renewal writes.
struct Heartbeat {
  std::string replica;
  int64_t applied_revision = 0;
  Acknowledgements acknowledged;
  // Of the row at the cursor: nothing is written into a log that has another row there, or none. "" = into any.
  std::string chain;
};

// Uses of one version of a key within one hour.
struct Use {
  std::string kid;
  int32_t version = 1;
  int decision = 0;         // A number of latchkey.v1.Decision.
  absl::Time hour;          // Its beginning.
  int64_t count = 0;        // To be added.
  absl::Time last_used_at;  // Of an allowed use, to the minute; InfinitePast for others. Only ever moves forward.
};

// A client's report, counted once whoever retries it within a day.
struct UseReport {
  std::string reporter;    // The kid of the reporting service's key.
  std::string request_id;  // Unique per reporter.
  std::vector<Use> uses;
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
// CONTENDED if lock waits and retries ran out, ROW_UNREADABLE if what is stored can't be read, INTERNAL otherwise.
class KeyStore {
 public:
  using Decide = absl::FunctionRef<absl::StatusOr<Mutation>(const LockedState&)>;

  virtual ~KeyStore() = default;

  // The only way anything is written: locks, reads, asks `decide`, writes the after-images, appends their bodies to the
  // change log (revisions without gaps, in commit order; the chain as in LogRow) and commits, all or nothing. The
  // records' `revision` becomes the row's rev. A secret is stored with its proof; one without takes away the proof that
  // its version had. Settings outside kShortestBound..kLongestBound are INTERNAL; a change that needs a higher feature
  // level is UPGRADE_UNFINISHED, any change at a level that this build does not read LEVEL_UNREADABLE
  // (keys::RequireLevel); settings that would lower the level, or raise it beyond what a
  // replica with a row reads, are CONTENDED. `decide` may be called again after a serialisation failure; if it returns
  // an error, that error is returned and nothing is written. Returns once the change is durable.
  virtual absl::StatusOr<Committed> Commit(const LockPlan& plan, Decide decide) = 0;

  // One repeatable-read snapshot of everything, proofs included. On an error `sink` may have seen part of it.
  virtual absl::StatusOr<SnapshotHead> LoadSnapshot(SnapshotSink& sink) = 0;
  // At most `limit` rows (≥ 2) with rev ≥ cursor, ascending. Reads only: it grants no lease.
  virtual absl::StatusOr<LogPage> ReadLog(int64_t cursor, int limit) = 0;
  // The chain at a revision; nullopt if there is no such row.
  virtual absl::StatusOr<std::optional<std::string>> ReadChain(int64_t revision) = 0;

  // --- Replicas. ---
  // Makes the row that RenewLease updates, with the feature levels that this build reads; nothing is applied or
  // acknowledged yet. INTERNAL if the installation's level is none of them. Idempotent: a row that is there keeps its
  // beat and takes the new doorbell. Other replicas' rows stay, however old: by a wall clock none can be told to be
  // dead.
  virtual absl::Status EnterReplica(const std::string& replica, const std::string& doorbell) = 0;
  // Takes it away at a clean end, so that nobody waits for this server. Idempotent.
  virtual absl::Status LeaveReplica(const std::string& replica) = 0;
  // Takes away the row of a replica that is found dead, by whoever has seen its beat unchanged for long on a clock of
  // its own: only if the beat is still the one that was seen. False: it has renewed since; true also if there is no
  // row.
  virtual absl::StatusOr<bool> ForgetReplica(const std::string& replica, int64_t beat) = 0;
  // ReadLog in one transaction with a WRITE to this replica's row, durable (synchronous_commit on) on the primary when
  // it returns. This alone, and only if OK, may extend a lease. REPLICA_FORGOTTEN if there was no such row; if the log
  // does not have the beat's chain at the cursor nothing is written, and the page, OK, begins with what is there
  // instead; OUTCOME_UNKNOWN if the commit may not be replicated as the operator asked. Never repeated: whatever goes
  // wrong is an error, and a broken connection is DATABASE_UNAVAILABLE whether or not the beat was written. Nothing is
  // written on a standby.
  virtual absl::StatusOr<LogPage> RenewLease(const Heartbeat& beat, int64_t cursor, int limit) = 0;
  // All rows, by id.
  virtual absl::StatusOr<std::vector<Replica>> ReadReplicas() = 0;
  // The settings as of now; mutations of them go through Commit.
  virtual absl::StatusOr<keys::Settings> ReadSettings() = 0;

  // --- Beside the log: never fights for a key's row. ---
  // Keeps each proof unless its version is gone; replaces one of another ring_id, leaves one of its own. Of two for
  // one version the later counts; empty ones are passed over. Sorted by kid by the store.
  virtual absl::Status PutProofs(std::vector<keys::KeyProof> proofs) = 0;
  // Adds the uses and the reports, all in one transaction, a report only if its (reporter, request_id) is new. Uses of
  // keys that do not exist are dropped, the others summed. After OUTCOME_UNKNOWN the reports may be given again, the
  // uses would be counted twice.
  virtual absl::Status AddUses(const std::vector<Use>& uses, const std::vector<UseReport>& reports) = 0;

  // nullopt if `organization` has none of that kid; one of another organization costs the same as none at all. Deleted
  // ones too. With last_used_at.
  virtual absl::StatusOr<std::optional<keys::KeyRecord>> ReadKey(const std::string& organization,
                                                                 const std::string& kid) = 0;
  virtual absl::StatusOr<std::optional<keys::OrganizationRecord>> ReadOrganization(const std::string& id) = 0;
  // Newest first by (created_at, kid), at most query.limit. With last_used_at.
  virtual absl::StatusOr<std::vector<keys::KeyRecord>> ListKeys(const KeyQuery& query) = 0;
  // By id, those after `after_id` ("" = from the first), at most `limit`.
  virtual absl::StatusOr<std::vector<keys::OrganizationRecord>> ListOrganizations(const std::string& after_id,
                                                                                  bool show_deleted, int limit) = 0;
  // Custom roles of one organization by id, those after `after_id` ("" = from the first), at most `limit`.
  virtual absl::StatusOr<std::vector<keys::RoleRecord>> ListRoles(const std::string& organization,
                                                                  const std::string& after_id, int limit) = 0;
  // The stored secrets of a key with their proofs, oldest first; empty if it has none.
  virtual absl::StatusOr<std::vector<keys::StoredSecret>> ReadSecrets(const std::string& kid) = 0;

  // Stores each (id, check value) that is not there yet and returns what is stored for all the ids given, so that the
  // caller can compare: a different value means a different key ring.
  virtual absl::StatusOr<std::map<std::string, std::string>> SettleKeyRingChecks(
      const std::map<std::string, std::string>& checks) = 0;
};

}  // namespace latchkey::storage
