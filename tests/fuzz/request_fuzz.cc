#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "client/core/cidr.h"
#include "client/core/permissions.h"
#include "client/core/redaction.h"
#include "client/core/text.h"
#include "google/protobuf/stubs/logging.h"
#include "google/rpc/error_details.pb.h"
#include "latchkey/v1/key_admin.pb.h"
#include "latchkey/v1/key_verify.pb.h"
#include "server/base/errors.h"
#include "server/model/time_range.h"
#include "server/rpc/admin/requests.h"
#include "server/rpc/call/convert.h"
#include "server/rpc/call/status_conversion.h"
#include "server/rpc/call/validate.h"
#include "server/rpc/verify/verify_requests.h"
#include "tests/fuzz/property.h"

// Requests, from the bytes on the wire to the domain's values or to the status that goes back. An input is a character
// that chooses the message, and the message.
namespace latchkey::rpc {
namespace {

// gRPC's peers take 8 KiB of metadata, which the status is sent in, its details in base64 and its message once more.
constexpr size_t kMostStatusBytes = 4096;
constexpr size_t kMostText = 512 + 3;

void CheckOutgoing(const std::string& text) {
  PROPERTY(text.size() <= kMostText);
  PROPERTY(core::CodePoints(text).has_value());
  PROPERTY(core::Redacted(text) == text);
}

// A refusal names a field and what was wanted there, and fits on the wire.
void CheckRefusal(const absl::Status& status) {
  if (status.ok()) return;
  PROPERTY(status.code() == absl::StatusCode::kInvalidArgument);
  const std::optional<errors::Detail> detail = errors::DetailOf(status);
  PROPERTY(detail.has_value());
  PROPERTY(!detail->field.empty() && !detail->wanted.empty());
  PROPERTY(!IsHidden(status));
  const google::rpc::Status sent = RpcStatusOf(status, "call-1");
  PROPERTY(sent.ByteSizeLong() + sent.message().size() <= kMostStatusBytes);
  PROPERTY(sent.code() == static_cast<int>(absl::StatusCode::kInvalidArgument));
  PROPERTY(!sent.message().empty());
  CheckOutgoing(sent.message());
  PROPERTY(sent.details_size() == 2);
  google::rpc::ErrorInfo info;
  PROPERTY(sent.details(0).UnpackTo(&info));
  PROPERTY(info.reason() == errors::NameOf(detail->reason) && !info.reason().empty());
  for (const auto& [name, value] : info.metadata()) CheckOutgoing(value);
  google::rpc::BadRequest bad_request;
  PROPERTY(sent.details(1).UnpackTo(&bad_request));
  PROPERTY(bad_request.field_violations_size() == 1);
  PROPERTY(!bad_request.field_violations(0).field().empty());
  PROPERTY(!bad_request.field_violations(0).description().empty());
  CheckOutgoing(bad_request.field_violations(0).field());
  CheckOutgoing(bad_request.field_violations(0).description());
}

void CheckStoredText(const std::string& text, size_t most) {
  const std::optional<size_t> points = core::CodePoints(text);
  PROPERTY(points && *points <= most);
  PROPERTY(core::Redacted(text) == text);
}

void CheckName(const std::string& text, size_t most) {
  CheckStoredText(text, most);
  PROPERTY(!core::HasForbiddenCharacter(text));
}

void CheckExpiration(const keys::Expiration& expiration) {
  PROPERTY(!expiration.at || !expiration.ttl);
  if (expiration.ttl) PROPERTY(*expiration.ttl >= absl::Seconds(1) && *expiration.ttl <= 100 * absl::Hours(24 * 366));
  if (!expiration.at) return;
  PROPERTY(keys::IsInRange(*expiration.at));
  google::protobuf::Timestamp written;
  ToProto(*expiration.at, &written);
  PROPERTY(TimeOf("f", written).value() == *expiration.at);
}

void CheckLabels(const std::map<std::string, std::string>& labels) {
  PROPERTY(labels.size() <= 32);
  for (const auto& [name, value] : labels) {
    PROPERTY(!name.empty());
    CheckName(name, 63);
    CheckName(value, 63);
  }
}

void CheckCidrs(const std::vector<std::string>& cidrs) {
  PROPERTY(cidrs.size() <= core::kMaxCidrsPerKey);
  PROPERTY(core::NormalisedCidrs(cidrs).value() == cidrs);
}

void Check(const keys::NewKey& key) {
  PROPERTY(core::IsResourceId(key.organization) && core::IsResourceId(key.role));
  PROPERTY(!key.display_name.empty());
  CheckName(key.display_name, 100);
  CheckStoredText(key.description, 1000);
  CheckName(key.owner, 256);
  CheckLabels(key.labels);
  CheckCidrs(key.allowed_cidrs);
  CheckExpiration(key.expiration);
  PROPERTY(key.request_id.empty() || key.request_id.size() == 36);
}

void Check(const keys::KeyEdit& edit) {
  PROPERTY(core::IsResourceId(edit.organization) && core::IsKeyId(edit.kid));
  PROPERTY(edit.display_name || edit.description || edit.role || edit.owner || edit.labels || edit.allowed_cidrs ||
           edit.expiration);
  if (edit.display_name) CheckName(*edit.display_name, 100);
  if (edit.description) CheckStoredText(*edit.description, 1000);
  if (edit.role) PROPERTY(core::IsResourceId(*edit.role));
  if (edit.owner) CheckName(*edit.owner, 256);
  if (edit.labels) CheckLabels(*edit.labels);
  if (edit.allowed_cidrs) CheckCidrs(*edit.allowed_cidrs);
  if (edit.expiration) CheckExpiration(*edit.expiration);
}

void Check(const core::KeyName& name) { PROPERTY(core::IsResourceId(name.organization) && core::IsKeyId(name.kid)); }
void Check(const keys::KeyRemoval& removal) {
  PROPERTY(core::IsResourceId(removal.organization) && core::IsKeyId(removal.kid));
}
void Check(keys::RevocationWait) {}
void Check(const PageRequest& page) {
  PROPERTY(page.page_size >= 1 && page.page_size <= kMaxPageSize);
  PROPERTY(page.organization.empty() || core::IsResourceId(page.organization));
}
void Check(const keys::NewOrganization& organization) {
  PROPERTY(core::IsResourceId(organization.id) && !organization.display_name.empty());
  CheckName(organization.display_name, 100);
}
void Check(const std::string& organization_id) { PROPERTY(core::IsResourceId(organization_id)); }
void Check(absl::Duration timeout) { PROPERTY(timeout >= absl::Milliseconds(1) && timeout <= absl::Seconds(60)); }
void Check(const Subscription& subscription) {
  const std::vector<std::string>& ids = subscription.organizations;
  PROPERTY(ids.size() <= 1000 && std::is_sorted(ids.begin(), ids.end()));
  PROPERTY(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
  PROPERTY(std::all_of(ids.begin(), ids.end(), [](const std::string& id) { return core::IsResourceId(id); }));
  PROPERTY(subscription.resume.revision >= 0);
}
void Check(const Ping& ping) { PROPERTY(!ping.acknowledged || ping.acknowledged->revision >= 0); }

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

void Check(const storage::UseReport& report) {
  PROPERTY(!report.request_id.empty());
  CheckName(report.request_id, 64);
  PROPERTY(report.uses.size() <= 1000);
  for (const storage::Use& use : report.uses) {
    PROPERTY(core::IsKeyId(use.kid) && use.version >= 1 && use.count >= 1);
    PROPERTY(use.hour <= kNow && use.hour > kNow - absl::Hours(49));
    PROPERTY(use.last_used_at == absl::InfinitePast() ||
             (use.last_used_at >= use.hour && use.last_used_at < use.hour + absl::Hours(1)));
  }
}

template <typename T>
void CheckResult(const absl::StatusOr<T>& result) {
  if (result.ok()) {
    Check(*result);
  } else {
    CheckRefusal(result.status());
  }
}

void CheckQuery(const v1::VerifyRequest& request, int index) {
  keys::VerifyQuery query;
  const absl::Status status = ReadVerifyQuery(request, index, query);
  CheckRefusal(status);
  if (!status.ok()) {
    if (index >= 0) PROPERTY(absl::StartsWith(errors::DetailOf(status)->field, "requests["));
    return;
  }
  PROPERTY(query.client_ip.empty() || core::ParseIp(query.client_ip));
  PROPERTY(query.required_permissions.size() <= kMaxRequiredPermissions);
  for (const std::string& permission : query.required_permissions) PROPERTY(core::IsPermission(permission));
}

// nullopt where the transport would refuse the bytes.
template <typename Request>
std::optional<Request> Parsed(std::string_view bytes) {
  Request request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return std::nullopt;
  return request;
}

// What `convert` makes of the bytes as a Request.
template <typename Request, typename Convert>
void CheckConversion(std::string_view bytes, const Convert& convert) {
  if (const std::optional<Request> request = Parsed<Request>(bytes)) CheckResult(convert(*request));
}

void CheckRequest(char kind, std::string_view bytes) {
  switch (kind) {
    case 'c':
      return CheckConversion<v1::CreateKeyRequest>(bytes, NewKeyOf);
    case 'u':
      return CheckConversion<v1::UpdateKeyRequest>(bytes, KeyEditOf);
    case 'g':
      return CheckConversion<v1::GetKeyRequest>(bytes, [](const auto& request) { return KeyNameOf(request); });
    case 'd':
      CheckConversion<v1::DeleteKeyRequest>(bytes, RevocationWaitOf);
      return CheckConversion<v1::DeleteKeyRequest>(bytes, KeyRemovalOf);
    case 'k':
      return CheckConversion<v1::ListKeysRequest>(bytes, [](const auto& request) { return PageRequestOf(request); });
    case 'r':
      return CheckConversion<v1::ListRolesRequest>(bytes, [](const auto& request) { return PageRequestOf(request); });
    case 'o':
      return CheckConversion<v1::ListOrganizationsRequest>(bytes,
                                                           [](const auto& request) { return PageRequestOf(request); });
    case 'n':
      return CheckConversion<v1::CreateOrganizationRequest>(bytes, NewOrganizationOf);
    case 'f':
      return CheckConversion<v1::GetOrganizationRequest>(bytes,
                                                         [](const auto& request) { return OrganizationIdOf(request); });
    case 'v':
      if (const auto request = Parsed<v1::VerifyRequest>(bytes)) CheckQuery(*request, -1);
      return;
    case 'b':
      if (const auto request = Parsed<v1::BatchVerifyRequest>(bytes)) {
        CheckRefusal(CheckBatch(*request));
        for (int i = 0; i < request->requests_size(); ++i) CheckQuery(request->requests(i), i);
      }
      return;
    case 's':
      return CheckConversion<v1::StreamVerifyRequest>(bytes, BatchTimeoutOf);
    case 'w':
      CheckConversion<v1::WatchRequest>(bytes, PingOf);
      return CheckConversion<v1::WatchRequest>(bytes, SubscriptionOf);
    case 't':
      return CheckConversion<v1::ReportUsageRequest>(bytes,
                                                     [](const auto& request) { return UseReportOf(request, kNow); });
    default:
      return;
  }
}

}  // namespace
}  // namespace latchkey::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  // Texts that are not UTF-8 are reported for each of them.
  static const bool silenced = (google::protobuf::SetLogHandler(nullptr), true);
  (void)silenced;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  latchkey::rpc::CheckRequest(input[0], input.substr(1));
  return 0;
}
