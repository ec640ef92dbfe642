#include "server/base/errors.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace latchkey::errors {
namespace {

constexpr char kDetailUrl[] = "latchkey.dev/errors.Detail";

// Payloads are bytes: one "name=escaped value" a line.
std::string Encode(const Detail& detail) {
  std::string out = absl::StrCat("reason=", detail.reason, "\nfield=", absl::CEscape(detail.field),
                                 "\nwanted=", absl::CEscape(detail.wanted),
                                 "\nretry=", absl::ToInt64Milliseconds(detail.retry_after));
  for (const auto& [name, value] : detail.metadata) absl::StrAppend(&out, "\nm:", name, "=", absl::CEscape(value));
  return out;
}

absl::Status Make(absl::StatusCode code, const std::string& message, const Detail& detail) {
  absl::Status status(code, message);
  status.SetPayload(kDetailUrl, absl::Cord(Encode(detail)));
  return status;
}

absl::Status Make(absl::StatusCode code, const std::string& message, const char* reason) {
  return Make(code, message, Detail{.reason = reason});
}

absl::Status Field(const char* reason, const std::string& field, const std::string& wanted,
                   const std::string& message) {
  return Make(absl::StatusCode::kInvalidArgument, message, Detail{.reason = reason, .field = field, .wanted = wanted});
}

}  // namespace

std::optional<Detail> DetailOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kDetailUrl);
  if (!payload.has_value()) return std::nullopt;
  Detail detail;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(std::string(*payload), '\n'))) {
    const size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const std::string name = line.substr(0, equals);
    std::string value;
    if (!absl::CUnescape(line.substr(equals + 1), &value)) continue;
    if (name == "reason") {
      detail.reason = std::move(value);
    } else if (name == "field") {
      detail.field = std::move(value);
    } else if (name == "wanted") {
      detail.wanted = std::move(value);
    } else if (name == "retry") {
      detail.retry_after = absl::Milliseconds(std::strtoll(value.c_str(), nullptr, 10));
    } else if (name.rfind("m:", 0) == 0) {
      detail.metadata[name.substr(2)] = std::move(value);
    }
  }
  return detail;
}

std::string ReasonOf(const absl::Status& status) {
  const std::optional<Detail> detail = DetailOf(status);
  return detail ? detail->reason : "";
}

absl::Status FieldInvalid(const std::string& field, const std::string& wanted) {
  return Field("FIELD_INVALID", field, wanted, absl::StrCat(field, ": wanted ", wanted));
}
absl::Status FieldRequired(const std::string& field, const std::string& wanted) {
  return Field("FIELD_REQUIRED", field, wanted, absl::StrCat(field, " is required: wanted ", wanted));
}
absl::Status FieldNotSupported(const std::string& field) {
  return Field("FIELD_NOT_SUPPORTED", field, "unset: this server does not implement it yet",
               absl::StrCat(field, " is not implemented by this server; leave it unset"));
}
absl::Status MaskPathInvalid(const std::string& path, const std::string& mutable_fields) {
  return Field("MASK_PATH_INVALID", "update_mask", absl::StrCat("some of ", mutable_fields, ", or *"),
               absl::StrCat("update_mask: \"", absl::CEscape(path), "\" can't be changed; wanted some of ",
                            mutable_fields, ", or *"));
}
absl::Status RoleUnknown(const std::string& field, const std::string& role, const std::string& organization) {
  const std::string wanted = absl::StrCat("a role of organizations/", organization, " (see ListRoles)");
  return Field("ROLE_UNKNOWN", field, wanted, absl::StrCat(field, ": \"", absl::CEscape(role), "\" is not ", wanted));
}
absl::Status PageTokenInvalid() {
  return Field(
      "PAGE_TOKEN_INVALID", "page_token",
      "the next_page_token of the page before, with every other field but page_size as it was",
      "page_token: wanted the next_page_token of the page before, with every other field but page_size as it was");
}

absl::Status CredentialsMissing() {
  return Make(absl::StatusCode::kUnauthenticated,
              "no credentials: wanted metadata 'authorization: Bearer <key string>'", "CREDENTIALS_MISSING");
}
absl::Status CredentialsInvalid() {
  return Make(absl::StatusCode::kUnauthenticated, "the caller's key is not valid", "CREDENTIALS_INVALID");
}
absl::Status PermissionMissing(const std::string& permission) {
  return Make(absl::StatusCode::kPermissionDenied, absl::StrCat("the caller's key lacks the permission ", permission),
              Detail{.reason = "PERMISSION_MISSING", .metadata = {{"permission", permission}}});
}

absl::Status RoleExceedsCreator(const std::string& role) {
  return Make(absl::StatusCode::kPermissionDenied,
              absl::StrCat("role \"", absl::CEscape(role),
                           "\" holds permissions that the caller or the key's creator does not hold; a key's role can "
                           "only be equal to or lesser than its creator's"),
              Detail{.reason = "ROLE_EXCEEDS_CREATOR", .metadata = {{"role", role}}});
}
absl::Status ExpiryExceedsCreator(absl::Time limit) {
  const std::string at = absl::FormatTime(absl::RFC3339_sec, limit, absl::UTCTimeZone());
  return Make(
      absl::StatusCode::kPermissionDenied,
      absl::StrCat("the creator's own key expires at ", at, "; a key can't outlive it: set expire_time at or before"),
      Detail{.reason = "EXPIRY_EXCEEDS_CREATOR", .metadata = {{"expire_time", at}}});
}

absl::Status CidrsExceedCreator() {
  return Make(absl::StatusCode::kPermissionDenied,
              "allowed_cidrs: the creator's own key is held to narrower addresses; a key can only be used from where "
              "its creator's can",
              "CIDRS_EXCEED_CREATOR");
}

absl::Status KeyNotFound(const std::string& name) {
  return Make(absl::StatusCode::kNotFound, absl::StrCat("no key ", name), "KEY_NOT_FOUND");
}
absl::Status OrganizationNotFound(const std::string& name) {
  return Make(absl::StatusCode::kNotFound, absl::StrCat("no organization ", name), "ORGANIZATION_NOT_FOUND");
}
absl::Status OrganizationExists(const std::string& name) {
  return Make(absl::StatusCode::kAlreadyExists, absl::StrCat(name, " exists already"),
              Detail{.reason = "ORGANIZATION_EXISTS", .metadata = {{"name", name}}});
}
absl::Status RequestReplayed(const std::string& name) {
  return Make(absl::StatusCode::kAlreadyExists,
              absl::StrCat("this request_id has made ", name,
                           " already; its key string was shown then and can't be shown again"),
              Detail{.reason = "REQUEST_REPLAYED", .metadata = {{"name", name}}});
}
absl::Status EtagMismatch(const std::string& name) {
  return Make(absl::StatusCode::kAborted, absl::StrCat(name, " has changed since this etag was read; read it again"),
              "ETAG_MISMATCH");
}
absl::Status KeyDeleted(const std::string& name) {
  return Make(absl::StatusCode::kFailedPrecondition, absl::StrCat(name, " is deleted and can't be changed"),
              "KEY_DELETED");
}
absl::Status LastOwner(const std::string& organization) {
  return Make(absl::StatusCode::kFailedPrecondition,
              absl::StrCat("this is the last live owner without expiry of organizations/", organization,
                           "; create another owner first, or rotate it"),
              "LAST_OWNER");
}
absl::Status DescendantsExceed(int count) {
  return Make(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat(count, " live key(s) that this key created would be left above it; lower or delete them first"),
      Detail{.reason = "DESCENDANTS_EXCEED_CREATOR", .metadata = {{"count", absl::StrCat(count)}}});
}
absl::Status RevisionUnknown() {
  return Make(absl::StatusCode::kFailedPrecondition,
              "min_revision is of another history than this database has: it was restored or has lost commits; drop "
              "what was remembered and start anew",
              "REVISION_UNKNOWN");
}
absl::Status AlreadyBootstrapped() {
  return Make(absl::StatusCode::kFailedPrecondition, "an owner has existed already; bootstrap makes the first one only",
              "ALREADY_BOOTSTRAPPED");
}

absl::Status DatabaseUnavailable() {
  return Make(absl::StatusCode::kUnavailable, "the database can't be reached; nothing was changed",
              Detail{.reason = "DATABASE_UNAVAILABLE", .retry_after = absl::Seconds(1)});
}
absl::Status OutcomeUnknown() {
  return Make(absl::StatusCode::kUnavailable,
              "the database went away during commit and could not be asked again: the change may or may not have "
              "happened; retry with the same request_id, or read the resource",
              Detail{.reason = "OUTCOME_UNKNOWN", .retry_after = absl::Seconds(1)});
}
absl::Status LeaseExpired() {
  return Make(absl::StatusCode::kUnavailable,
              "this server has not heard from the database within the staleness bound, so it can't decide",
              Detail{.reason = "LEASE_EXPIRED", .retry_after = absl::Seconds(1)});
}
absl::Status RevisionNotReached() {
  return Make(absl::StatusCode::kUnavailable, "this server has not reached min_revision within the deadline; try again",
              Detail{.reason = "REVISION_NOT_REACHED", .retry_after = absl::Milliseconds(100)});
}
absl::Status ReplicaForgotten() {
  return Make(absl::StatusCode::kUnavailable, "this server's row of replica_lease is gone; it will be made anew",
              "REPLICA_FORGOTTEN");
}
absl::Status WatchEnded(const std::string& why) {
  return Make(absl::StatusCode::kUnavailable, absl::StrCat("this stream has ended: ", why, "; subscribe anew"),
              "WATCH_ENDED");
}
absl::Status KeyRingLacks(const std::string& what) {
  return Make(absl::StatusCode::kUnavailable,
              absl::StrCat("this server's key ring lacks ", what, ", which this key was made with"),
              "KEY_RING_LACKS_ID");
}
absl::Status ShuttingDown() {
  return Make(absl::StatusCode::kUnavailable, "this server is stopping",
              Detail{.reason = "SHUTTING_DOWN", .retry_after = absl::Seconds(1)});
}
absl::Status HashPoolFull(absl::Duration retry_after) {
  return Make(absl::StatusCode::kResourceExhausted, "too many keys wait for their first verification; try again",
              Detail{.reason = "HASH_POOL_FULL", .retry_after = retry_after});
}
absl::Status WorkersBusy(absl::Duration retry_after) {
  return Make(absl::StatusCode::kResourceExhausted, "too many calls are waiting; try again",
              Detail{.reason = "WORKERS_BUSY", .retry_after = retry_after});
}
absl::Status TooManyFailures(absl::Duration retry_after) {
  return Make(absl::StatusCode::kResourceExhausted, "too many failed verifications of this kind; try again",
              Detail{.reason = "TOO_MANY_FAILURES", .retry_after = retry_after});
}
absl::Status Contended() {
  return Make(absl::StatusCode::kAborted,
              "other changes to the same keys got in the way; nothing was changed; try again",
              Detail{.reason = "CONTENDED", .retry_after = absl::Milliseconds(100)});
}
absl::Status DeadlineExceeded() {
  return Make(absl::StatusCode::kDeadlineExceeded, "the deadline passed before an answer was found",
              "DEADLINE_EXCEEDED");
}

absl::Status Internal(const std::string& for_the_log) {
  return Make(absl::StatusCode::kInternal, for_the_log, "INTERNAL");
}

}  // namespace latchkey::errors
