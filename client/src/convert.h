#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"
#include "latchkey/v1/key_verify.pb.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// A gRPC error as an absl::Status of the same code and message. Its google.rpc details become payloads, each under its
// type URL: kErrorInfoUrl, kBadRequestUrl, ...
absl::Status ToStatus(const grpc::Status& status);

inline constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
inline constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";

// Allowed only for exactly DECISION_ALLOWED; every other number is denied, also one this build does not know.
Answer ToAnswer(const v1::VerifyResponse& response);

}  // namespace latchkey::client
