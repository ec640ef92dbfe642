#pragma once

#include <string_view>

namespace latchkey::core {

// The verdict on a key, with the numbers of latchkey.v1.Decision. Anything but kAllowed means deny, also a value this
// build does not know.
enum class Decision {
  kUnspecified = 0,
  kAllowed = 1,
  kMalformed = 2,
  kNotFound = 3,
  kRevoked = 4,
  kDisabled = 5,
  kExpired = 6,
  kPermissionDenied = 7,
  kClientNotAllowed = 8,
  kRateLimited = 9,
};

// "ALLOWED", "NOT_FOUND", ...; "UNSPECIFIED" for a number this build does not know.
constexpr std::string_view DecisionName(Decision decision) {
  switch (decision) {
    case Decision::kAllowed:
      return "ALLOWED";
    case Decision::kMalformed:
      return "MALFORMED";
    case Decision::kNotFound:
      return "NOT_FOUND";
    case Decision::kRevoked:
      return "REVOKED";
    case Decision::kDisabled:
      return "DISABLED";
    case Decision::kExpired:
      return "EXPIRED";
    case Decision::kPermissionDenied:
      return "PERMISSION_DENIED";
    case Decision::kClientNotAllowed:
      return "CLIENT_NOT_ALLOWED";
    case Decision::kRateLimited:
      return "RATE_LIMITED";
    case Decision::kUnspecified:
      break;
  }
  return "UNSPECIFIED";
}

}  // namespace latchkey::core
