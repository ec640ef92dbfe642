#pragma once

#include "absl/time/time.h"
#include "client/core/revision_token.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "latchkey/v1/key_verify.pb.h"
#include "latchkey/v1/resources.pb.h"
#include "server/keys/key_verifier.h"
#include "server/keys/records.h"

// Values of the domain in, messages out.
namespace latchkey::rpc {

// Every output field but revision.token, which a record does not know: what a mutation returns gets it from its stamp.
// `now` is the database's clock: what EXPIRED is judged by.
void ToProto(const keys::KeyRecord& key, absl::Time now, v1::Key* out);
void ToProto(const keys::OrganizationRecord& organization, v1::Organization* out);
// A built-in role has neither times nor etag nor revision.
void ToProto(const keys::RoleRecord& role, v1::Role* out);
// Writes every field of `out`, which may have been used before: that costs no memory anew.
void ToProto(const keys::Verdict& verdict, v1::VerifyResponse* out);
// Number and token.
void ToProto(const core::RevisionToken& revision, v1::Revision* out);
// Negative becomes 0.
void ToProto(absl::Duration duration, google::protobuf::Duration* out);

// Finite times only; below a nanosecond is cut off.
void ToProto(absl::Time time, google::protobuf::Timestamp* out);

}  // namespace latchkey::rpc
