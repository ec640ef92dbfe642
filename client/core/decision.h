#pragma once

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

}  // namespace latchkey::core
