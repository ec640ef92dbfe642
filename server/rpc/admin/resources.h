#pragma once

#include "absl/time/time.h"
#include "latchkey/v1/resources.pb.h"
#include "server/model/records.h"

// Conversion of records into KeyAdmin's resources.
namespace latchkey::rpc {

// Every output field but revision.token, which a record does not know: what a mutation returns gets it from its stamp.
// `now` is the database's clock: what EXPIRED is judged by.
void ToProto(const keys::KeyRecord& key, absl::Time now, v1::Key* out);
void ToProto(const keys::OrganizationRecord& organization, v1::Organization* out);
// A built-in role has neither times nor etag nor revision.
void ToProto(const keys::RoleRecord& role, v1::Role* out);
}  // namespace latchkey::rpc
