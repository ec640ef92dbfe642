#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/resource_names.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/map.h"
#include "google/protobuf/repeated_field.h"
#include "google/protobuf/timestamp.pb.h"

// Checks of single input values. `field` is the full path for the error; every error is FIELD_INVALID or FIELD_REQUIRED
// naming it and what was wanted, unless said otherwise. No text may hold what looks like a key string.
namespace latchkey::rpc {

inline constexpr int kDefaultPageSize = 50;
inline constexpr int kMaxPageSize = 1000;
inline constexpr int kMaxRequiredPermissions = 32;
inline constexpr int kMaxBatch = 100;

// 1..100 code points without controls or bidirectional overrides.
absl::Status CheckDisplayName(const std::string& field, const std::string& value);
// At most 1,000 code points; newlines and tabs are fine, other forbidden characters are not.
absl::Status CheckDescription(const std::string& field, const std::string& value);
// At most 256 code points, no forbidden characters.
absl::Status CheckOwner(const std::string& field, const std::string& value);
// At most 32; keys [a-z][a-z0-9_-]{0,62}, values at most 63 code points without forbidden characters.
absl::StatusOr<std::map<std::string, std::string>> LabelsOf(
    const std::string& field, const google::protobuf::Map<std::string, std::string>& labels);
// FIELD_REQUIRED if empty; ROLE_UNKNOWN if it has not the form of a role id.
absl::Status CheckRole(const std::string& field, const std::string& role, const std::string& organization);

// Years 0001..9999, cut to microseconds, which is what is stored.
absl::StatusOr<absl::Time> TimeOf(const std::string& field, const google::protobuf::Timestamp& time);
// 1 s .. 100 years.
absl::StatusOr<absl::Duration> TtlOf(const std::string& field, const google::protobuf::Duration& ttl);

// "" or a UUID (8-4-4-4-12 hex digits), in lower case.
absl::StatusOr<std::string> RequestIdOf(const std::string& field, const std::string& value);
// 1..64 characters, none forbidden: what a client names a report by.
absl::StatusOr<std::string> ReportIdOf(const std::string& field, const std::string& value);
// At most 64 CIDR blocks, canonical; the error names field[i].
absl::StatusOr<std::vector<std::string>> CidrsOf(const std::string& field,
                                                 const google::protobuf::RepeatedPtrField<std::string>& blocks);
// 0 = 50, more than 1000 = 1000.
absl::StatusOr<int> PageSizeOf(int page_size);

absl::StatusOr<std::string> OrganizationIdOf(const std::string& field, const std::string& name);
absl::StatusOr<core::KeyName> KeyNameIn(const std::string& field, const std::string& name);

// At most 32, each of the permission form.
absl::StatusOr<std::vector<std::string>> RequiredPermissionsOf(
    const std::string& field, const google::protobuf::RepeatedPtrField<std::string>& permissions);

}  // namespace latchkey::rpc
