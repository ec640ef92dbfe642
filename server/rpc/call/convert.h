#pragma once

#include "absl/time/time.h"
#include "client/core/revision_token.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "latchkey/v1/resources.pb.h"

// Conversion of the value types that every service's messages share: revisions, times, durations.
namespace latchkey::rpc {

// Number and token.
void ToProto(const core::RevisionToken& revision, v1::Revision* out);
// Negative becomes 0.
void ToProto(absl::Duration duration, google::protobuf::Duration* out);

// Finite times only; below a nanosecond is cut off.
void ToProto(absl::Time time, google::protobuf::Timestamp* out);

}  // namespace latchkey::rpc
