#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

// The one error catalogue: every failure a caller can see is a named function here, which fixes its code, its reason
// (UPPER_SNAKE, google.rpc.ErrorInfo.reason) and its wording. No function takes a key string or a secret.
namespace latchkey::errors {

// What went wrong, for programs. Its name on the wire is in UPPER_SNAKE: kFieldInvalid is FIELD_INVALID.
enum class Reason {
  kNone,  // Of a status that was not made here.
  kFieldInvalid,
  kFieldRequired,
  kFieldNotSupported,
  kMaskPathInvalid,
  kRoleUnknown,
  kPageTokenInvalid,
  kCredentialsMissing,
  kCredentialsInvalid,
  kPermissionMissing,
  kRoleExceedsCreator,
  kExpiryExceedsCreator,
  kCidrsExceedCreator,
  kKeyNotFound,
  kOrganizationNotFound,
  kOrganizationExists,
  kRequestReplayed,
  kEtagMismatch,
  kKeyDeleted,
  kLastOwner,
  kDescendantsExceedCreator,
  kQuotaExceeded,
  kRevisionUnknown,
  kAlreadyBootstrapped,
  kUpgradeUnfinished,
  kDatabaseUnavailable,
  kOutcomeUnknown,
  kLeaseExpired,
  kRevisionNotReached,
  kReplicaForgotten,
  kWatchEnded,
  kKeyRingLacksId,
  kShuttingDown,
  kHashPoolFull,
  kWorkersBusy,
  kTooManyFailures,
  kContended,
  kDeadlineExceeded,
  kInternal,
  kHistoryRefused,
  kLevelUnreadable,
  kRowUnreadable,
};
// "" of kNone.
std::string_view NameOf(Reason reason);
// Of a status made here.
Reason ReasonOf(const absl::Status& status);

// What an error of the catalogue carries beside code and message.
struct Detail {
  Reason reason = Reason::kNone;
  // The wrong field's full path and what was wanted; "" if the error is not a field's.
  std::string field;
  std::string wanted;
  // How long to wait before trying again; zero if waiting does not help.
  absl::Duration retry_after = absl::ZeroDuration();
  // For programs: values that the message mentions.
  std::map<std::string, std::string> metadata;
};

// The detail of a status made here; nullopt for any other.
std::optional<Detail> DetailOf(const absl::Status& status);

// --- The request is wrong: INVALID_ARGUMENT, with the field's path and what was wanted. ---
absl::Status FieldInvalid(const std::string& field, const std::string& wanted);            // FIELD_INVALID
absl::Status FieldRequired(const std::string& field, const std::string& wanted);           // FIELD_REQUIRED
absl::Status FieldNotSupported(const std::string& field);                                  // FIELD_NOT_SUPPORTED
absl::Status MaskPathInvalid(const std::string& path, const std::string& mutable_fields);  // MASK_PATH_INVALID
absl::Status RoleUnknown(const std::string& field, const std::string& role,
                         const std::string& organization);  // ROLE_UNKNOWN
absl::Status PageTokenInvalid();                            // PAGE_TOKEN_INVALID

// --- Who is calling. ---
absl::Status CredentialsMissing();                              // UNAUTHENTICATED CREDENTIALS_MISSING
absl::Status CredentialsInvalid();                              // UNAUTHENTICATED CREDENTIALS_INVALID: never says why
absl::Status PermissionMissing(const std::string& permission);  // PERMISSION_DENIED PERMISSION_MISSING

// --- The ceiling: PERMISSION_DENIED. ---
// `role` holds a permission that the caller (or, on update, the key's creator) does not.
absl::Status RoleExceedsCreator(const std::string& role);  // ROLE_EXCEEDS_CREATOR
// The caller's key expires at `limit`, what it grants would outlive it.
absl::Status ExpiryExceedsCreator(absl::Time limit);  // EXPIRY_EXCEEDS_CREATOR
// What it grants could be used from addresses that the caller's key can't.
absl::Status CidrsExceedCreator();  // CIDRS_EXCEED_CREATOR

// --- Resources. ---
absl::Status KeyNotFound(const std::string& name);           // NOT_FOUND KEY_NOT_FOUND
absl::Status OrganizationNotFound(const std::string& name);  // NOT_FOUND ORGANIZATION_NOT_FOUND
absl::Status OrganizationExists(const std::string& name);    // ALREADY_EXISTS ORGANIZATION_EXISTS
absl::Status RequestReplayed(const std::string& name);       // ALREADY_EXISTS REQUEST_REPLAYED, metadata "name"
absl::Status EtagMismatch(const std::string& name);          // ABORTED ETAG_MISMATCH
absl::Status KeyDeleted(const std::string& name);            // FAILED_PRECONDITION KEY_DELETED
absl::Status LastOwner(const std::string& organization);     // FAILED_PRECONDITION LAST_OWNER
absl::Status DescendantsExceed(int64_t count);               // FAILED_PRECONDITION DESCENDANTS_EXCEED_CREATOR
// `resource` (organizations/acme) has as many as its `quota` (max_keys) allows. RESOURCE_EXHAUSTED QUOTA_EXCEEDED, all
// three as metadata.
absl::Status QuotaExceeded(const std::string& resource, const std::string& quota, int64_t limit);
absl::Status RevisionUnknown();      // FAILED_PRECONDITION REVISION_UNKNOWN: another history's
absl::Status AlreadyBootstrapped();  // FAILED_PRECONDITION ALREADY_BOOTSTRAPPED
// The installation may not write it yet: servers that can't read it may still run. FAILED_PRECONDITION
// UPGRADE_UNFINISHED, metadata "level", "needed_level".
absl::Status UpgradeUnfinished(int needed_level, int level);

// --- Could not decide: try again. ---
absl::Status DatabaseUnavailable();                        // UNAVAILABLE DATABASE_UNAVAILABLE
absl::Status OutcomeUnknown();                             // UNAVAILABLE OUTCOME_UNKNOWN: the commit is in doubt
absl::Status LeaseExpired();                               // UNAVAILABLE LEASE_EXPIRED
absl::Status RevisionNotReached();                         // UNAVAILABLE REVISION_NOT_REACHED: within the deadline
absl::Status ReplicaForgotten();                           // UNAVAILABLE REPLICA_FORGOTTEN: the renewal updated no row
absl::Status WatchEnded(const std::string& why);           // UNAVAILABLE WATCH_ENDED: subscribe anew
absl::Status KeyRingLacks(const std::string& what);        // UNAVAILABLE KEY_RING_LACKS_ID
absl::Status ShuttingDown();                               // UNAVAILABLE SHUTTING_DOWN
absl::Status HashPoolFull(absl::Duration retry_after);     // RESOURCE_EXHAUSTED HASH_POOL_FULL
absl::Status TooManyFailures(absl::Duration retry_after);  // RESOURCE_EXHAUSTED TOO_MANY_FAILURES: slow lane only
absl::Status WorkersBusy(absl::Duration retry_after);      // RESOURCE_EXHAUSTED WORKERS_BUSY
absl::Status Contended();                                  // ABORTED CONTENDED: lock waits and retries ran out
absl::Status DeadlineExceeded();                           // DEADLINE_EXCEEDED DEADLINE_EXCEEDED

// --- This server and its database. ---
// FAILED_PRECONDITION HISTORY_REFUSED: the database has another past than this server followed, for an operator to
// accept. `how`: in what they differ. Never a caller's.
absl::Status HistoryRefused(const std::string& how);
// FAILED_PRECONDITION LEVEL_UNREADABLE: the database is at a feature level that this build does not read. The
// server ends; a caller may meet it just before.
absl::Status LevelUnreadable(int level, int oldest, int newest);
// DATA_LOSS ROW_UNREADABLE: the database has a row that this build can't read, because it is damaged, was written by
// hand, or by another version. `what`: which row, which field of it and what was wanted there, never its value.
absl::Status RowUnreadable(const std::string& what);

// --- Ours. The text is for the log; callers see a fixed sentence. ---
absl::Status Internal(const std::string& for_the_log);  // INTERNAL INTERNAL

}  // namespace latchkey::errors
