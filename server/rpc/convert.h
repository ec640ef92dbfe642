#pragma once

#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"
#include "latchkey/v1/key_verify.pb.h"
#include "latchkey/v1/resources.pb.h"
#include "server/keys/key_verifier.h"
#include "server/keys/records.h"

// Values of the domain in, messages out.
namespace latchkey::rpc {

// Every output field. `now` is the database's clock: what EXPIRED is judged by.
void ToProto(const keys::KeyRecord& key, absl::Time now, v1::Key* out);
void ToProto(const keys::OrganizationRecord& organization, v1::Organization* out);
// A built-in role has neither times nor etag nor revision.
void ToProto(const keys::RoleRecord& role, v1::Role* out);
void ToProto(const keys::Verdict& verdict, v1::VerifyResponse* out);

// Finite times only; below a nanosecond is cut off.
void ToProto(absl::Time time, google::protobuf::Timestamp* out);

}  // namespace latchkey::rpc
