#include "server/rpc/call/validate.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/core/cidr.h"
#include "client/core/permissions.h"
#include "client/core/text.h"
#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/model/time_range.h"

namespace latchkey::rpc {
namespace {

constexpr size_t kMaxDisplayName = 100;
constexpr size_t kMaxDescription = 1000;
constexpr size_t kMaxOwner = 256;
constexpr size_t kMaxLabels = 32;
constexpr size_t kMaxLabelKey = 63;
constexpr size_t kMaxLabelValue = 63;
constexpr size_t kMaxQuoted = 64;
constexpr size_t kMaxReportId = 64;
constexpr int64_t kLongestTtlSeconds = 100LL * 31557600;
constexpr int kNanosEnd = 1'000'000'000;

bool IsText(const std::string& value, size_t most) {
  const std::optional<size_t> points = core::CodePoints(value);
  return points.has_value() && *points <= most && !core::HasForbiddenCharacter(value);
}

// A key string pasted into the wrong box would be stored, listed and logged for ever.
absl::Status RefuseKeyString(const std::string& field, const std::string& value) {
  if (log::Redacted(value) == value) return absl::OkStatus();
  return errors::FieldInvalid(field, "text without a key string in it; if that key is real, it has leaked: delete it");
}

bool IsLabelKey(const std::string& key) {
  if (key.empty() || key.size() > kMaxLabelKey || key[0] < 'a' || key[0] > 'z') return false;
  return std::all_of(key.begin(), key.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; });
}

bool IsUuid(const std::string& value) {
  if (value.size() != 36) return false;
  for (size_t i = 0; i < value.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? value[i] != '-' : std::isxdigit(static_cast<unsigned char>(value[i])) == 0) return false;
  }
  return true;
}

}  // namespace

absl::Status CheckDisplayName(const std::string& field, const std::string& value) {
  const char* const wanted = "1..100 characters, none of them a control or bidirectional formatting character";
  if (value.empty()) return errors::FieldRequired(field, wanted);
  if (!IsText(value, kMaxDisplayName)) return errors::FieldInvalid(field, wanted);
  return RefuseKeyString(field, value);
}

absl::Status CheckDescription(const std::string& field, const std::string& value) {
  std::string without_breaks = value;
  without_breaks.erase(
      std::remove_if(without_breaks.begin(), without_breaks.end(), [](char c) { return c == '\n' || c == '\t'; }),
      without_breaks.end());
  const size_t breaks = value.size() - without_breaks.size();
  if (breaks > kMaxDescription || !IsText(without_breaks, kMaxDescription - breaks)) {
    return errors::FieldInvalid(
        field, "at most 1000 characters; no control characters but newline and tab, no bidirectional formatting");
  }
  return RefuseKeyString(field, value);
}

absl::Status CheckOwner(const std::string& field, const std::string& value) {
  if (!IsText(value, kMaxOwner)) {
    return errors::FieldInvalid(field,
                                "at most 256 characters, none of them a control or bidirectional formatting character");
  }
  return RefuseKeyString(field, value);
}

absl::StatusOr<std::map<std::string, std::string>> LabelsOf(
    const std::string& field, const google::protobuf::Map<std::string, std::string>& labels) {
  if (labels.size() > kMaxLabels) return errors::FieldInvalid(field, "at most 32 labels");
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : labels) {
    if (!IsLabelKey(key)) return errors::FieldInvalid(field, "label keys of the form [a-z][a-z0-9_-]{0,62}");
    if (absl::Status fine = RefuseKeyString(field, key); !fine.ok()) return fine;
    if (!IsText(value, kMaxLabelValue)) {
      return errors::FieldInvalid(
          absl::StrCat(field, ".", key),
          "at most 63 characters, none of them a control or bidirectional formatting character");
    }
    if (absl::Status fine = RefuseKeyString(absl::StrCat(field, ".", key), value); !fine.ok()) return fine;
    out[key] = value;
  }
  return out;
}

absl::Status CheckRole(const std::string& field, const std::string& role, const std::string& organization) {
  if (role.empty()) return errors::FieldRequired(field, "the id of a role, e.g. \"editor\" (see ListRoles)");
  if (core::IsResourceId(role)) return absl::OkStatus();
  // Errors travel in metadata: a role of 60 KiB must not come back whole.
  return errors::RoleUnknown(field, role.size() > kMaxQuoted ? role.substr(0, kMaxQuoted) + "..." : role, organization);
}

absl::StatusOr<absl::Time> TimeOf(const std::string& field, const google::protobuf::Timestamp& time) {
  if (time.seconds() < keys::kFirstSecond || time.seconds() > keys::kLastSecond || time.nanos() < 0 ||
      time.nanos() >= kNanosEnd) {
    return errors::FieldInvalid(field, "a timestamp from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z");
  }
  return absl::FromUnixSeconds(time.seconds()) + absl::Microseconds(time.nanos() / 1000);
}

absl::StatusOr<absl::Duration> TtlOf(const std::string& field, const google::protobuf::Duration& ttl) {
  const bool too_long = ttl.seconds() > kLongestTtlSeconds || (ttl.seconds() == kLongestTtlSeconds && ttl.nanos() > 0);
  if (ttl.seconds() < 1 || too_long || ttl.nanos() < 0 || ttl.nanos() >= kNanosEnd) {
    return errors::FieldInvalid(field, "a duration from 1 s to 100 years (3155760000 s)");
  }
  return absl::Seconds(ttl.seconds()) + absl::Microseconds(ttl.nanos() / 1000);
}

absl::StatusOr<std::string> RequestIdOf(const std::string& field, const std::string& value) {
  if (value.empty()) return std::string();
  if (!IsUuid(value)) return errors::FieldInvalid(field, "a UUID: 8-4-4-4-12 hexadecimal digits");
  std::string lower = value;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

absl::StatusOr<std::string> ReportIdOf(const std::string& field, const std::string& value) {
  const char* const wanted = "1..64 characters, none of them a control character";
  if (value.empty()) return errors::FieldRequired(field, wanted);
  if (!IsText(value, kMaxReportId)) return errors::FieldInvalid(field, wanted);
  if (absl::Status fine = RefuseKeyString(field, value); !fine.ok()) return fine;
  return value;
}

absl::StatusOr<std::vector<std::string>> CidrsOf(const std::string& field,
                                                 const google::protobuf::RepeatedPtrField<std::string>& blocks) {
  if (blocks.size() > static_cast<int>(core::kMaxCidrsPerKey)) return errors::FieldInvalid(field, "at most 64 blocks");
  // One by one, so that the error can name the wrong one.
  for (int i = 0; i < blocks.size(); ++i) {
    if (absl::StatusOr<core::Cidr> block = core::Cidr::Parse(blocks[i]); !block.ok()) {
      return errors::FieldInvalid(
          absl::StrCat(field, "[", i, "]"),
          "a CIDR block: 10.0.0.0/8, 2001:db8::/32, or one address; no bit below the prefix set");
    }
  }
  absl::StatusOr<std::vector<std::string>> normalised = core::NormalisedCidrs({blocks.begin(), blocks.end()});
  if (!normalised.ok()) return errors::FieldInvalid(field, "CIDR blocks");
  return normalised;
}

absl::StatusOr<int> PageSizeOf(int page_size) {
  if (page_size < 0) return errors::FieldInvalid("page_size", "0 (50 a page) or 1..1000");
  if (page_size == 0) return kDefaultPageSize;
  return std::min(page_size, kMaxPageSize);
}

absl::StatusOr<std::string> OrganizationIdOf(const std::string& field, const std::string& name) {
  const char* const wanted = "organizations/{organization}";
  if (name.empty()) return errors::FieldRequired(field, wanted);
  const std::optional<std::string> id = core::ParseOrganizationName(name);
  if (!id.has_value()) return errors::FieldInvalid(field, wanted);
  return *id;
}

absl::StatusOr<core::KeyName> KeyNameIn(const std::string& field, const std::string& name) {
  const char* const wanted = "organizations/{organization}/keys/{key}, the key id of 16 base62 characters";
  if (name.empty()) return errors::FieldRequired(field, wanted);
  const std::optional<core::KeyName> parsed = core::ParseKeyName(name);
  if (!parsed.has_value()) return errors::FieldInvalid(field, wanted);
  return *parsed;
}

absl::StatusOr<std::vector<std::string>> RequiredPermissionsOf(
    const std::string& field, const google::protobuf::RepeatedPtrField<std::string>& permissions) {
  if (permissions.size() > kMaxRequiredPermissions) return errors::FieldInvalid(field, "at most 32 permissions");
  for (int i = 0; i < permissions.size(); ++i) {
    if (core::IsPermission(permissions[i])) continue;
    return errors::FieldInvalid(absl::StrCat(field, "[", i, "]"),
                                "dot-separated segments of [a-z0-9_-], at most 128 bytes, e.g. \"app.pages.publish\"");
  }
  return std::vector<std::string>(permissions.begin(), permissions.end());
}

}  // namespace latchkey::rpc
