#include "server/base/errors.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace latchkey::errors {
namespace {

constexpr char kReasonUrl[] = "latchkey.dev/reason";
constexpr char kDetailUrl[] = "latchkey.dev/detail";

constexpr std::pair<Reason, std::string_view> kNames[] = {
    {Reason::kFieldInvalid, "FIELD_INVALID"},
    {Reason::kFieldRequired, "FIELD_REQUIRED"},
    {Reason::kFieldNotSupported, "FIELD_NOT_SUPPORTED"},
    {Reason::kMaskPathInvalid, "MASK_PATH_INVALID"},
    {Reason::kRoleUnknown, "ROLE_UNKNOWN"},
    {Reason::kPageTokenInvalid, "PAGE_TOKEN_INVALID"},
    {Reason::kCredentialsMissing, "CREDENTIALS_MISSING"},
    {Reason::kCredentialsInvalid, "CREDENTIALS_INVALID"},
    {Reason::kPermissionMissing, "PERMISSION_MISSING"},
    {Reason::kRoleExceedsCreator, "ROLE_EXCEEDS_CREATOR"},
    {Reason::kExpiryExceedsCreator, "EXPIRY_EXCEEDS_CREATOR"},
    {Reason::kCidrsExceedCreator, "CIDRS_EXCEED_CREATOR"},
    {Reason::kKeyNotFound, "KEY_NOT_FOUND"},
    {Reason::kOrganizationNotFound, "ORGANIZATION_NOT_FOUND"},
    {Reason::kOrganizationExists, "ORGANIZATION_EXISTS"},
    {Reason::kRequestReplayed, "REQUEST_REPLAYED"},
    {Reason::kEtagMismatch, "ETAG_MISMATCH"},
    {Reason::kKeyDeleted, "KEY_DELETED"},
    {Reason::kLastOwner, "LAST_OWNER"},
    {Reason::kDescendantsExceedCreator, "DESCENDANTS_EXCEED_CREATOR"},
    {Reason::kQuotaExceeded, "QUOTA_EXCEEDED"},
    {Reason::kRevisionUnknown, "REVISION_UNKNOWN"},
    {Reason::kAlreadyBootstrapped, "ALREADY_BOOTSTRAPPED"},
    {Reason::kUpgradeUnfinished, "UPGRADE_UNFINISHED"},
    {Reason::kDatabaseUnavailable, "DATABASE_UNAVAILABLE"},
    {Reason::kOutcomeUnknown, "OUTCOME_UNKNOWN"},
    {Reason::kLeaseExpired, "LEASE_EXPIRED"},
    {Reason::kRevisionNotReached, "REVISION_NOT_REACHED"},
    {Reason::kReplicaForgotten, "REPLICA_FORGOTTEN"},
    {Reason::kWatchEnded, "WATCH_ENDED"},
    {Reason::kKeyRingLacksId, "KEY_RING_LACKS_ID"},
    {Reason::kShuttingDown, "SHUTTING_DOWN"},
    {Reason::kHashPoolFull, "HASH_POOL_FULL"},
    {Reason::kWorkersBusy, "WORKERS_BUSY"},
    {Reason::kTooManyFailures, "TOO_MANY_FAILURES"},
    {Reason::kContended, "CONTENDED"},
    {Reason::kDeadlineExceeded, "DEADLINE_EXCEEDED"},
    {Reason::kInternal, "INTERNAL"},
    {Reason::kHistoryRefused, "HISTORY_REFUSED"},
    {Reason::kLevelUnreadable, "LEVEL_UNREADABLE"},
    {Reason::kRowUnreadable, "ROW_UNREADABLE"},
};

absl::Status Make(absl::StatusCode code, const std::string& message, const Detail& detail) {
  absl::Status status(code, message);
  const std::string_view name = NameOf(detail.reason);
  status.SetPayload(kReasonUrl, absl::Cord(absl::string_view(name.data(), name.size())));
  nlohmann::json more = nlohmann::json::object();
  if (!detail.field.empty()) more["field"] = detail.field;
  if (!detail.wanted.empty()) more["wanted"] = detail.wanted;
  if (detail.retry_after > absl::ZeroDuration()) more["retry_ms"] = absl::ToInt64Milliseconds(detail.retry_after);
  if (!detail.metadata.empty()) more["metadata"] = detail.metadata;
  // What a caller sent may not be UTF-8.
  if (!more.empty()) {
    status.SetPayload(kDetailUrl, absl::Cord(more.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  }
  return status;
}

absl::Status Make(absl::StatusCode code, const std::string& message, Reason reason) {
  return Make(code, message, Detail{.reason = reason});
}

absl::Status Field(Reason reason, const std::string& field, const std::string& wanted, const std::string& message) {
  return Make(absl::StatusCode::kInvalidArgument, message, Detail{.reason = reason, .field = field, .wanted = wanted});
}

}  // namespace

std::string_view NameOf(Reason reason) {
  const auto* const found =
      std::find_if(std::begin(kNames), std::end(kNames), [reason](const auto& entry) { return entry.first == reason; });
  return found == std::end(kNames) ? std::string_view() : found->second;
}

Reason ReasonOf(const absl::Status& status) {
  const absl::optional<absl::Cord> name = status.GetPayload(kReasonUrl);
  if (!name.has_value()) return Reason::kNone;
  const auto* const found = std::find_if(std::begin(kNames), std::end(kNames), [&name](const auto& entry) {
    return *name == absl::string_view(entry.second.data(), entry.second.size());
  });
  return found == std::end(kNames) ? Reason::kNone : found->first;
}

std::optional<Detail> DetailOf(const absl::Status& status) {
  const Reason reason = ReasonOf(status);
  if (reason == Reason::kNone) return std::nullopt;
  Detail detail{.reason = reason};
  if (const absl::optional<absl::Cord> payload = status.GetPayload(kDetailUrl)) {
    const nlohmann::json more = nlohmann::json::parse(std::string(*payload));
    detail.field = more.value("field", "");
    detail.wanted = more.value("wanted", "");
    detail.retry_after = absl::Milliseconds(more.value("retry_ms", int64_t{0}));
    detail.metadata = more.value("metadata", std::map<std::string, std::string>());
  }
  return detail;
}

absl::Status FieldInvalid(const std::string& field, const std::string& wanted) {
  return Field(Reason::kFieldInvalid, field, wanted, absl::StrCat(field, ": wanted ", wanted));
}
absl::Status FieldRequired(const std::string& field, const std::string& wanted) {
  return Field(Reason::kFieldRequired, field, wanted, absl::StrCat(field, " is required: wanted ", wanted));
}
absl::Status FieldNotSupported(const std::string& field) {
  return Field(Reason::kFieldNotSupported, field, "unset: this server does not implement it yet",
               absl::StrCat(field, " is not implemented by this server; leave it unset"));
}
absl::Status MaskPathInvalid(const std::string& path, const std::string& mutable_fields) {
  return Field(Reason::kMaskPathInvalid, "update_mask", absl::StrCat("some of ", mutable_fields, ", or *"),
               absl::StrCat("update_mask: \"", absl::CEscape(path), "\" can't be changed; wanted some of ",
                            mutable_fields, ", or *"));
}
absl::Status RoleUnknown(const std::string& field, const std::string& role, const std::string& organization) {
  const std::string wanted = absl::StrCat("a role of organizations/", organization, " (see ListRoles)");
  return Field(Reason::kRoleUnknown, field, wanted,
               absl::StrCat(field, ": \"", absl::CEscape(role), "\" is not ", wanted));
}
absl::Status PageTokenInvalid() {
  return Field(
      Reason::kPageTokenInvalid, "page_token",
      "the next_page_token of the page before, with every other field but page_size as it was",
      "page_token: wanted the next_page_token of the page before, with every other field but page_size as it was");
}

absl::Status CredentialsMissing() {
  return Make(absl::StatusCode::kUnauthenticated,
              "no credentials: wanted metadata 'authorization: Bearer <key string>'", Reason::kCredentialsMissing);
}
absl::Status CredentialsInvalid() {
  return Make(absl::StatusCode::kUnauthenticated, "the caller's key is not valid", Reason::kCredentialsInvalid);
}
absl::Status PermissionMissing(const std::string& permission) {
  return Make(absl::StatusCode::kPermissionDenied, absl::StrCat("the caller's key lacks the permission ", permission),
              Detail{.reason = Reason::kPermissionMissing, .metadata = {{"permission", permission}}});
}

absl::Status RoleExceedsCreator(const std::string& role) {
  return Make(absl::StatusCode::kPermissionDenied,
              absl::StrCat("role \"", absl::CEscape(role),
                           "\" holds permissions that the caller or the key's creator does not hold; a key's role can "
                           "only be equal to or lesser than its creator's"),
              Detail{.reason = Reason::kRoleExceedsCreator, .metadata = {{"role", role}}});
}
absl::Status ExpiryExceedsCreator(absl::Time limit) {
  const std::string at = absl::FormatTime(absl::RFC3339_sec, limit, absl::UTCTimeZone());
  return Make(
      absl::StatusCode::kPermissionDenied,
      absl::StrCat("the creator's own key expires at ", at, "; a key can't outlive it: set expire_time at or before"),
      Detail{.reason = Reason::kExpiryExceedsCreator, .metadata = {{"expire_time", at}}});
}

absl::Status CidrsExceedCreator() {
  return Make(absl::StatusCode::kPermissionDenied,
              "allowed_cidrs: the creator's own key is held to narrower addresses; a key can only be used from where "
              "its creator's can",
              Reason::kCidrsExceedCreator);
}

absl::Status KeyNotFound(const std::string& name) {
  return Make(absl::StatusCode::kNotFound, absl::StrCat("no key ", name), Reason::kKeyNotFound);
}
absl::Status OrganizationNotFound(const std::string& name) {
  return Make(absl::StatusCode::kNotFound, absl::StrCat("no organization ", name), Reason::kOrganizationNotFound);
}
absl::Status OrganizationExists(const std::string& name) {
  return Make(absl::StatusCode::kAlreadyExists, absl::StrCat(name, " exists already"),
              Detail{.reason = Reason::kOrganizationExists, .metadata = {{"name", name}}});
}
absl::Status RequestReplayed(const std::string& name) {
  return Make(absl::StatusCode::kAlreadyExists,
              absl::StrCat("this request_id has made ", name,
                           " already; its key string was shown then and can't be shown again"),
              Detail{.reason = Reason::kRequestReplayed, .metadata = {{"name", name}}});
}
absl::Status EtagMismatch(const std::string& name) {
  return Make(absl::StatusCode::kAborted, absl::StrCat(name, " has changed since this etag was read; read it again"),
              Reason::kEtagMismatch);
}
absl::Status KeyDeleted(const std::string& name) {
  return Make(absl::StatusCode::kFailedPrecondition, absl::StrCat(name, " is deleted and can't be changed"),
              Reason::kKeyDeleted);
}
absl::Status LastOwner(const std::string& organization) {
  return Make(absl::StatusCode::kFailedPrecondition,
              absl::StrCat("this is the last live owner without expiry of organizations/", organization,
                           "; create another owner first, or rotate it"),
              Reason::kLastOwner);
}
absl::Status DescendantsExceed(int64_t count) {
  return Make(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat(count, " live key(s) that this key created would be left above it; lower or delete them first"),
      Detail{.reason = Reason::kDescendantsExceedCreator, .metadata = {{"count", absl::StrCat(count)}}});
}
absl::Status QuotaExceeded(const std::string& resource, const std::string& quota, int64_t limit) {
  return Make(absl::StatusCode::kResourceExhausted,
              absl::StrCat(resource, " has as many as its ", quota, " allows (", limit,
                           "): delete what nothing uses, or have an owner of system raise it"),
              Detail{.reason = Reason::kQuotaExceeded,
                     .metadata = {{"resource", resource}, {"quota", quota}, {"limit", absl::StrCat(limit)}}});
}
absl::Status RevisionUnknown() {
  return Make(absl::StatusCode::kFailedPrecondition,
              "min_revision is of another history than this database has: it was restored or has lost commits; drop "
              "what was remembered and start anew",
              Reason::kRevisionUnknown);
}
absl::Status AlreadyBootstrapped() {
  return Make(absl::StatusCode::kFailedPrecondition, "an owner has existed already; bootstrap makes the first one only",
              Reason::kAlreadyBootstrapped);
}

absl::Status UpgradeUnfinished(int needed_level, int level) {
  return Make(absl::StatusCode::kFailedPrecondition,
              absl::StrCat("this needs feature level ", needed_level, ", the installation is at ", level,
                           ": an upgrade is not finished; once every server runs a version that reads level ",
                           needed_level, ", run latchkeyd upgrade finish"),
              Detail{.reason = Reason::kUpgradeUnfinished,
                     .metadata = {{"level", absl::StrCat(level)}, {"needed_level", absl::StrCat(needed_level)}}});
}

absl::Status DatabaseUnavailable() {
  return Make(absl::StatusCode::kUnavailable, "the database can't be reached; nothing was changed",
              Detail{.reason = Reason::kDatabaseUnavailable, .retry_after = absl::Seconds(1)});
}
absl::Status OutcomeUnknown() {
  return Make(absl::StatusCode::kUnavailable,
              "the database went away during commit and could not be asked again: the change may or may not have "
              "happened; retry with the same request_id, or read the resource",
              Detail{.reason = Reason::kOutcomeUnknown, .retry_after = absl::Seconds(1)});
}
absl::Status LeaseExpired() {
  return Make(absl::StatusCode::kUnavailable,
              "this server has not heard from the database within the staleness bound, so it can't decide",
              Detail{.reason = Reason::kLeaseExpired, .retry_after = absl::Seconds(1)});
}
absl::Status RevisionNotReached() {
  return Make(absl::StatusCode::kUnavailable, "this server has not reached min_revision within the deadline; try again",
              Detail{.reason = Reason::kRevisionNotReached, .retry_after = absl::Milliseconds(100)});
}
absl::Status ReplicaForgotten() {
  return Make(absl::StatusCode::kUnavailable, "this server's row of replica_lease is gone; it will be made anew",
              Reason::kReplicaForgotten);
}
absl::Status WatchEnded(const std::string& why) {
  return Make(absl::StatusCode::kUnavailable, absl::StrCat("this stream has ended: ", why, "; subscribe anew"),
              Reason::kWatchEnded);
}
absl::Status KeyRingLacks(const std::string& what) {
  return Make(absl::StatusCode::kUnavailable,
              absl::StrCat("this server's key ring lacks ", what, ", which this key was made with"),
              Reason::kKeyRingLacksId);
}
absl::Status ShuttingDown() {
  return Make(absl::StatusCode::kUnavailable, "this server is stopping",
              Detail{.reason = Reason::kShuttingDown, .retry_after = absl::Seconds(1)});
}
absl::Status HashPoolFull(absl::Duration retry_after) {
  return Make(absl::StatusCode::kResourceExhausted, "too many keys wait for their first verification; try again",
              Detail{.reason = Reason::kHashPoolFull, .retry_after = retry_after});
}
absl::Status WorkersBusy(absl::Duration retry_after) {
  return Make(absl::StatusCode::kResourceExhausted, "too many calls are waiting; try again",
              Detail{.reason = Reason::kWorkersBusy, .retry_after = retry_after});
}
absl::Status TooManyFailures(absl::Duration retry_after) {
  return Make(absl::StatusCode::kResourceExhausted, "too many failed verifications of this kind; try again",
              Detail{.reason = Reason::kTooManyFailures, .retry_after = retry_after});
}
absl::Status Contended() {
  return Make(absl::StatusCode::kAborted,
              "other changes to the same keys got in the way; nothing was changed; try again",
              Detail{.reason = Reason::kContended, .retry_after = absl::Milliseconds(100)});
}
absl::Status DeadlineExceeded() {
  return Make(absl::StatusCode::kDeadlineExceeded, "the deadline passed before an answer was found",
              Reason::kDeadlineExceeded);
}

absl::Status HistoryRefused(const std::string& how) {
  return Make(absl::StatusCode::kFailedPrecondition,
              absl::StrCat("the database has another history than this server followed before: ", how),
              Reason::kHistoryRefused);
}

absl::Status LevelUnreadable(int level, int oldest, int newest) {
  return Make(absl::StatusCode::kFailedPrecondition,
              absl::StrCat("the database is at feature level ", level, ", this build reads ", oldest, " to ", newest,
                           level > newest ? ": use a newer latchkeyd"
                                          : ": finish the upgrade to a version between them first (latchkeyd upgrade "
                                            "finish)"),
              Reason::kLevelUnreadable);
}

absl::Status RowUnreadable(const std::string& what) {
  return Make(absl::StatusCode::kDataLoss, absl::StrCat("the database has a row that this build can't read: ", what),
              Reason::kRowUnreadable);
}

absl::Status Internal(const std::string& for_the_log) {
  return Make(absl::StatusCode::kInternal, for_the_log, Reason::kInternal);
}

}  // namespace latchkey::errors
