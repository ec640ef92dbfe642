#include "client/src/convert.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "client/core/key_format.h"

namespace latchkey::client {

absl::Status ToStatus(const google::rpc::Status& status) {
  if (status.code() == 0) return absl::OkStatus();
  absl::Status converted(static_cast<absl::StatusCode>(status.code()), status.message());
  for (const auto& detail : status.details()) converted.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  return converted;
}

absl::Status ToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  // Details are a courtesy: an error without them, or with damaged ones, is the same error.
  if (!details.ParseFromString(status.error_details())) details.Clear();
  details.set_code(status.error_code());
  details.set_message(status.error_message());
  return ToStatus(details);
}

absl::Status WithoutKey(absl::Status status, std::string_view key_string) {
  const auto parts = core::ParseKeyString(key_string);
  const std::string secret(parts ? parts->secret : key_string);
  if (secret.empty() || status.ok()) return status;
  bool quotes = absl::StrContains(status.message(), secret);
  status.ForEachPayload([&](absl::string_view, const absl::Cord& payload) {
    quotes = quotes || absl::StrContains(std::string(payload), secret);
  });
  return quotes ? absl::Status(status.code(), "the server's message held a key") : status;
}

Identity ToIdentity(const v1::Identity& from) {
  Identity::Fields identity;
  identity.key_id = from.key_id();
  identity.organization = from.organization();
  identity.display_name = from.display_name();
  identity.role = from.role();
  identity.permissions.assign(from.permissions().begin(), from.permissions().end());
  identity.owner = from.owner();
  identity.labels.insert(from.labels().begin(), from.labels().end());
  if (from.has_expire_time()) {
    identity.expires_at =
        absl::FromUnixSeconds(from.expire_time().seconds()) + absl::Nanoseconds(from.expire_time().nanos());
  }
  identity.secret_version = from.secret_version();
  identity.allowed_cidrs.assign(from.allowed_cidrs().begin(), from.allowed_cidrs().end());
  return Identity(identity);
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return std::max(absl::ZeroDuration(), absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos()));
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration converted;
  converted.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  converted.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return converted;
}

Answer ToAnswer(const v1::VerifyResponse& response) {
  return Answer::Decided(static_cast<Decision>(response.decision()),
                         response.has_identity() ? ToIdentity(response.identity()) : Identity());
}

Answer ToAnswer(LeaseCache::Hit hit) {
  return Answer::Decided(static_cast<Decision>(hit.decision), std::move(hit.identity));
}

LeaseCache::ServerAnswer ToServerAnswer(const v1::VerifyResponse& response) {
  LeaseCache::ServerAnswer answer;
  if (response.has_identity()) answer.identity = ToIdentity(response.identity());
  answer.decision = static_cast<core::Decision>(response.decision());
  answer.revision = response.revision().number();
  answer.history = response.history();
  answer.lease_remaining = ToDuration(response.lease_remaining());
  if (response.has_expires_in()) answer.expires_in = ToDuration(response.expires_in());
  return answer;
}

}  // namespace latchkey::client
