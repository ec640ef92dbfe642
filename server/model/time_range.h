#pragma once

#include <cstdint>

#include "absl/time/time.h"

// Range of the times in records: the years 0001 to 9999, those of google.protobuf.Timestamp, and Never(). Nothing else
// is taken in or read back. PostgreSQL's timestamptz goes on to the year 294276, and the last 29 of its years do not
// fit into 64 bits of microseconds since 1970.
namespace latchkey::keys {

inline constexpr int64_t kFirstSecond = -62135596800;  // 0001-01-01T00:00:00Z
inline constexpr int64_t kLastSecond = 253402300799;   // 9999-12-31T23:59:59Z
// The same in microseconds, which is what is stored.
inline constexpr int64_t kFirstMicrosecond = kFirstSecond * 1'000'000;
inline constexpr int64_t kLastMicrosecond = kLastSecond * 1'000'000 + 999'999;
// For errors.
inline constexpr char kWantedTime[] = "a time of the years 0001 to 9999 was wanted";

// Finite and between them.
inline bool IsInRange(absl::Time time) {
  return time >= absl::FromUnixMicros(kFirstMicrosecond) && time < absl::FromUnixSeconds(kLastSecond + 1);
}

}  // namespace latchkey::keys
