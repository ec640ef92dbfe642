#include "client/src/convert.h"

#include <utility>

#include "absl/strings/cord.h"
#include "google/rpc/status.pb.h"

namespace latchkey::client {

absl::Status ToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status converted(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  // Details are a courtesy: an error without them, or with damaged ones, is the same error.
  if (details.ParseFromString(status.error_details())) {
    for (const auto& detail : details.details()) converted.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return converted;
}

Answer ToAnswer(const v1::VerifyResponse& response) {
  Identity identity;
  if (response.has_identity()) {
    const v1::Identity& from = response.identity();
    identity.name = from.name();
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
  }
  return Answer::Decided(static_cast<Decision>(response.decision()), std::move(identity));
}

}  // namespace latchkey::client
