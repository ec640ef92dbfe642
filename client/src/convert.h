#pragma once

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/src/cache/lease_cache.h"
#include "google/protobuf/duration.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"
#include "latchkey/v1/key_verify.pb.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Conversions between protobuf or gRPC types and the client's own.

// A gRPC error as an absl::Status of the same code and message. Its google.rpc details become payloads, each under its
// type URL: kErrorInfoUrl, kBadRequestUrl, ...
absl::Status ToStatus(const grpc::Status& status);
absl::Status ToStatus(const google::rpc::Status& status);

inline constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
inline constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";

// The status, or one without its text if that quotes the secret of `key_string`. Servers of ours never do; a proxy in
// between, or a server gone wrong, might.
absl::Status WithoutKey(absl::Status status, std::string_view key_string);

// Who it says that the key is.
Identity ToIdentity(const v1::Identity& identity);

// Negative ones are 0; out of range is saturated.
absl::Duration ToDuration(const google::protobuf::Duration& duration);
google::protobuf::Duration ToProto(absl::Duration duration);  // Of a finite one.

// Allowed only for exactly DECISION_ALLOWED; every other number is denied, also one this build does not know.
Answer ToAnswer(const v1::VerifyResponse& response);
Answer ToAnswer(LeaseCache::Hit hit);

// What the cache may learn from a response.
LeaseCache::ServerAnswer ToServerAnswer(const v1::VerifyResponse& response);

}  // namespace latchkey::client
