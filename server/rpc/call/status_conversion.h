#pragma once

#include <string>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace latchkey::rpc {

// The error domain of every ErrorInfo.
inline constexpr char kErrorDomain[] = "latchkey.dev";

// The wire form of an error of the catalogue (server/base/errors.h): ErrorInfo always (metadata also holds
// "request_id"), BadRequest for a field's fault, RetryInfo where waiting helps. The text of INTERNAL, and of any status
// that is not from the catalogue, stays here: callers see "internal error" and the request id. Texts are cut at 512
// bytes, so that they fit in the metadata, and redacted. OK stays OK.
google::rpc::Status RpcStatusOf(const absl::Status& status, const std::string& request_id);

// True if the caller must not see the status's text.
bool IsHidden(const absl::Status& status);

}  // namespace latchkey::rpc
