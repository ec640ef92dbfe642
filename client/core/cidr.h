#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace latchkey::core {

inline constexpr size_t kMaxCidrsPerKey = 64;  // Limit of allowed_cidrs, kept by who takes them in.

// IP address of 16 bytes; IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2), so that "::ffff:10.0.0.1" and "10.0.0.1" are one.
using IpAddress = std::array<uint8_t, 16>;

// IPv4 dotted quad without leading zeros, or IPv6 text (RFC 4291 §2.2), no zone, no port; nullopt for anything else.
// Never allocates.
std::optional<IpAddress> ParseIp(std::string_view text);

// CIDR block of IP addresses (RFC 4632, RFC 4291 §2.3). "::/0" is every address, "0.0.0.0/0" every one of IPv4. An
// immutable value; nothing but Parse and ToString allocates.
class Cidr {
 public:
  // "10.0.0.0/8", "2001:db8::/32"; an address without "/" is the block of that one address. INVALID_ARGUMENT "must
  // ...", which never repeats `text`, also if bits below the prefix are set ("10.0.0.1/8": a typing error more often
  // than a wish).
  static absl::StatusOr<Cidr> Parse(std::string_view text);

  bool Contains(const IpAddress& address) const;
  // Every address of `other` is in this one.
  bool Covers(const Cidr& other) const;
  // The canonical text: lower case, RFC 5952, always with "/"; IPv4 as a dotted quad. Parse reads it back.
  std::string ToString() const;
  // By address, a block before those it covers.
  friend auto operator<=>(const Cidr&, const Cidr&) = default;  // NOLINT(modernize-use-nullptr): compares with 0.

 private:
  IpAddress base_{};
  uint8_t prefix_ = 0;  // Of 128 bits.
};

// Canonical, sorted by address, without duplicates and blocks that another one covers. INVALID_ARGUMENT "[index] must
// ..." for the first wrong one.
absl::StatusOr<std::vector<std::string>> NormalisedCidrs(const std::vector<std::string>& blocks);

// Both in the form NormalisedCidrs returns; empty = anywhere. True only if every address that `a` allows is allowed by
// `b`. It asks for one block of `b` around each of `a`: two halves are not their whole, nor is {"::/0"} as wide as {}.
bool CidrsAtMost(const std::vector<std::string>& a, const std::vector<std::string>& b);

}  // namespace latchkey::core
