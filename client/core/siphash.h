#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace latchkey::core {

// Digest of 128 bits: the reference implementation's 16 bytes of output, as two little-endian numbers.
struct Digest128 {
  uint64_t low = 0;
  uint64_t high = 0;
  friend bool operator==(const Digest128&, const Digest128&) = default;
};

// SipHash-2-4 with 128 bits of output (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012, and its reference
// code for the 128-bit variant): a keyed digest for tables that strangers put strings into. Immutable; thread-safe.
class SipHash {
 public:
  // Under 16 bytes of key.
  explicit SipHash(const std::array<uint8_t, 16>& key);
  // Under a key of its own from the operating system's CSPRNG. Aborts if that fails.
  static SipHash Random();

  // Takes about 40 ns for a key string; never allocates.
  Digest128 Of(std::string_view text) const;

 private:
  uint64_t k0_;
  uint64_t k1_;
};

}  // namespace latchkey::core
