#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "latchkey/v1/resources.pb.h"

namespace latchkey::cli {

// Parsers of command-line arguments. Every error is INVALID_ARGUMENT and says what was wanted; none quotes the
// word, because people paste key strings into the wrong place.

// A whole number and a unit, or several from large to small: "30d", "12h", "1d12h", "90s", "500ms" (w, d, h, m, s, ms).
// More than zero, at most 100 years (of 365.25 days).
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// RFC 3339 with a zone: "2030-01-02T03:04:05Z".
absl::StatusOr<absl::Time> ParseTime(std::string_view text);

// "organizations/{organization}/keys/{kid}", "{organization}/{kid}", or "{kid}" with `organization` given. If both name
// an organization, they must agree.
absl::StatusOr<std::string> KeyNameFrom(std::string_view text, std::string_view organization);

// "name=value"; the value may be empty and may hold more of "=".
absl::StatusOr<std::pair<std::string, std::string>> ParseLabel(std::string_view text);

// "unused", "rotated", "compromised", "owner-left".
absl::StatusOr<v1::Reason> ParseReason(std::string_view text);

}  // namespace latchkey::cli
