#include "server/rpc/verify/verify_requests.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/core/cidr.h"
#include "client/core/key_format.h"
#include "client/core/permissions.h"
#include "client/core/text.h"
#include "google/protobuf/unknown_field_set.h"
#include "server/base/errors.h"
#include "server/rpc/call/supported_fields.h"
#include "server/rpc/call/validate.h"

namespace latchkey::rpc {
namespace {

constexpr absl::Duration kDefaultBatchTimeout = absl::Seconds(2);
constexpr absl::Duration kShortestBatchTimeout = absl::Milliseconds(1);
constexpr absl::Duration kLongestBatchTimeout = absl::Seconds(60);
constexpr int kMaxOrganizations = 1000;
constexpr int kMaxUsages = 1000;
constexpr int64_t kMaxUsageCount = 1'000'000'000;
constexpr absl::Duration kOldestUse = absl::Hours(48);
constexpr char kWantedToken[] = "a Revision.token that this installation gave out";

// "requests[3].key", or "key" for a request that is alone.
std::string PathOf(int index, const char* field) {
  return index < 0 ? std::string(field) : absl::StrCat("requests[", index, "].", field);
}

// A newer client's restriction must not be ignored. Of the message itself, not of those in it.
template <typename Message>
absl::Status RefuseUnknownFields(const Message& message, int index, const char* prefix) {
  const google::protobuf::UnknownFieldSet& fields = Message::GetReflection()->GetUnknownFields(message);
  if (fields.empty()) return absl::OkStatus();
  return errors::FieldNotSupported(absl::StrCat(PathOf(index, prefix), "unknown field ", fields.field(0).number()));
}

}  // namespace

// By hand and not by CheckSupported: this is asked a million times a second, and reflection costs more than a verdict.
absl::Status ReadVerifyQuery(const v1::VerifyRequest& request, int index, keys::VerifyQuery& out) {
  out.key = core::PresentedKey(request.key());
  out.fresh = request.fresh();
  out.client_ip = {};
  out.min_revision.reset();
  if (absl::Status known = RefuseUnknownFields(request, index, ""); !known.ok()) return known;
  if (request.has_client()) {
    const v1::ClientInfo& client = request.client();
    if (absl::Status known = RefuseUnknownFields(client, index, "client."); !known.ok()) return known;
    if (!client.method().empty()) return errors::FieldNotSupported(PathOf(index, "client.method"));
    if (!client.path().empty()) return errors::FieldNotSupported(PathOf(index, "client.path"));
    if (!client.user_agent().empty()) return errors::FieldNotSupported(PathOf(index, "client.user_agent"));
    out.client_ip = client.ip();
    if (!client.ip().empty() && !core::ParseIp(client.ip()).has_value()) {
      return errors::FieldInvalid(PathOf(index, "client.ip"), "an IPv4 or IPv6 address, without port and zone");
    }
  }
  if (!request.min_revision().empty()) {
    out.min_revision = core::RevisionToken::Decode(request.min_revision());
    if (!out.min_revision.has_value()) return errors::FieldInvalid(PathOf(index, "min_revision"), kWantedToken);
  }
  const auto& permissions = request.required_permissions();
  const bool all_fine =
      permissions.size() <= kMaxRequiredPermissions &&
      std::all_of(permissions.begin(), permissions.end(), [](auto& one) { return core::IsPermission(one); });
  if (!all_fine) return RequiredPermissionsOf(PathOf(index, "required_permissions"), permissions).status();
  out.required_permissions.assign(permissions.begin(), permissions.end());
  return absl::OkStatus();
}

absl::Status CheckBatch(const v1::BatchVerifyRequest& request) {
  static const FieldRules rules{.supported = {"requests"}, .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  if (request.requests().empty()) return errors::FieldRequired("requests", "1..100 requests");
  if (request.requests_size() > kMaxBatch) return errors::FieldInvalid("requests", "1..100 requests");
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> BatchTimeoutOf(const v1::StreamVerifyRequest& request) {
  if (absl::Status known = RefuseUnknownFields(request, -1, ""); !known.ok()) return known;
  if (request.requests().empty()) return errors::FieldRequired("requests", "1..64 requests");
  if (request.requests_size() > kMaxStreamBatch) return errors::FieldInvalid("requests", "1..64 requests");
  if (!request.has_timeout()) return kDefaultBatchTimeout;
  const google::protobuf::Duration& timeout = request.timeout();
  const absl::Duration wanted = absl::Seconds(timeout.seconds()) + absl::Nanoseconds(timeout.nanos());
  if (wanted < kShortestBatchTimeout || wanted > kLongestBatchTimeout) {
    return errors::FieldInvalid("timeout", "a duration from 1 ms to 60 s");
  }
  return wanted;
}

absl::StatusOr<Subscription> SubscriptionOf(const v1::WatchRequest& request) {
  static const FieldRules rules{.supported = {"subscribe"}, .ignored = {}};
  if (!request.has_subscribe()) return errors::FieldRequired("subscribe", "to be the first message of a stream");
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  const v1::WatchRequest::Subscribe& subscribe = request.subscribe();
  Subscription out;
  if (subscribe.organizations_size() > kMaxOrganizations) {
    return errors::FieldInvalid("subscribe.organizations", "at most 1,000 organization ids");
  }
  for (int i = 0; i < subscribe.organizations_size(); ++i) {
    if (core::IsResourceId(subscribe.organizations(i))) continue;
    return errors::FieldInvalid(absl::StrCat("subscribe.organizations[", i, "]"),
                                "an id of the form [a-z]([a-z0-9-]{0,61}[a-z0-9])?");
  }
  out.organizations.assign(subscribe.organizations().begin(), subscribe.organizations().end());
  std::sort(out.organizations.begin(), out.organizations.end());
  out.organizations.erase(std::unique(out.organizations.begin(), out.organizations.end()), out.organizations.end());
  if (subscribe.resume_revision().empty()) return out;
  const std::optional<core::RevisionToken> resume = core::RevisionToken::Decode(subscribe.resume_revision());
  if (!resume.has_value()) return errors::FieldInvalid("subscribe.resume_revision", kWantedToken);
  out.resume = *resume;
  return out;
}

absl::StatusOr<Ping> PingOf(const v1::WatchRequest& request) {
  if (!request.has_ping()) return errors::FieldRequired("ping", "to be every message of a stream but the first");
  static const FieldRules rules{.supported = {"ping"}, .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  Ping out{.seq = request.ping().seq(), .acknowledged = std::nullopt};
  if (request.ping().acknowledged_revision().empty()) return out;
  out.acknowledged = core::RevisionToken::Decode(request.ping().acknowledged_revision());
  if (!out.acknowledged.has_value()) return errors::FieldInvalid("ping.acknowledged_revision", kWantedToken);
  return out;
}

absl::StatusOr<storage::UseReport> UseReportOf(const v1::ReportUsageRequest& request, absl::Time now) {
  static const FieldRules rules{.supported = {"usages", "request_id"}, .ignored = {}};
  static const FieldRules usage_rules{.supported = {"key_id", "secret_version", "count", "last_used_time", "decision"},
                                      .ignored = {}};
  if (absl::Status status = CheckSupported(request, rules); !status.ok()) return status;
  storage::UseReport report;
  absl::StatusOr<std::string> id = ReportIdOf("request_id", request.request_id());
  if (!id.ok()) return id.status();
  report.request_id = *std::move(id);
  if (request.usages_size() > kMaxUsages) return errors::FieldInvalid("usages", "at most 1,000 usages");
  report.uses.reserve(static_cast<size_t>(request.usages_size()));
  for (int i = 0; i < request.usages_size(); ++i) {
    const v1::ReportUsageRequest::Usage& usage = request.usages(i);
    const std::string path = absl::StrCat("usages[", i, "].");
    if (absl::Status status = CheckSupported(usage, usage_rules, path); !status.ok()) return status;
    if (!core::IsKeyId(usage.key_id())) {
      return errors::FieldInvalid(path + "key_id", "a key id: 16 base62 characters");
    }
    if (usage.secret_version() < 1) return errors::FieldInvalid(path + "secret_version", "a number from 1 up");
    if (usage.count() < 1 || usage.count() > kMaxUsageCount) {
      return errors::FieldInvalid(path + "count", "a number from 1 to 1,000,000,000");
    }
    if (!v1::Decision_IsValid(usage.decision()) || usage.decision() == v1::DECISION_UNSPECIFIED) {
      return errors::FieldInvalid(path + "decision", "a decision that KeyVerify answers");
    }
    absl::Time last_used = now;
    if (usage.has_last_used_time()) {
      const absl::StatusOr<absl::Time> said = TimeOf(path + "last_used_time", usage.last_used_time());
      if (!said.ok()) return said.status();
      // Each hour is a row of its own: there must not be more of them than time brings.
      last_used = std::clamp(*said, now - kOldestUse, now);
    }
    const bool allowed = usage.decision() == v1::DECISION_ALLOWED;
    report.uses.push_back(
        {.kid = usage.key_id(),
         .version = usage.secret_version(),
         .decision = static_cast<int>(usage.decision()),
         .hour = absl::UnixEpoch() + absl::Floor(last_used - absl::UnixEpoch(), absl::Hours(1)),
         .count = usage.count(),
         .last_used_at = allowed ? absl::UnixEpoch() + absl::Floor(last_used - absl::UnixEpoch(), absl::Minutes(1))
                                 : absl::InfinitePast()});
  }
  return report;
}

}  // namespace latchkey::rpc
