#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace latchkey::keys {

// Argon2id cost, stored with every hash.
struct HashProfile {
  std::string name;
  uint32_t memory_kib;
  uint32_t passes;
  uint32_t lanes;
};

// OWASP Password Storage Cheat Sheet: m=19456 KiB, t=2, p=1. The default.
HashProfile OwaspProfile();
// m=1024 KiB, t=1, p=1, for large fleets: a 256-bit random secret needs no stretching (OWASP ASVS 5.0 §6.5.2 asks for a
// password hash only below 112 bits).
HashProfile RandomKeyProfile();
// "owasp" or "random-key"; nullopt otherwise.
std::optional<HashProfile> FindHashProfile(const std::string& name);

// A PHC string of Argon2id, v=19: $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>, base64 without padding.
struct PhcHash {
  uint32_t memory_kib = 0;
  uint32_t passes = 0;
  uint32_t lanes = 0;
  std::string salt;
  std::string hash;
};

// Caps on stored parameters, so that a forged row can't exhaust the server: m ≤ 128 MiB, t ≤ 10, p ≤ 4.
inline constexpr uint32_t kMaxMemoryKib = 128 * 1024;
inline constexpr uint32_t kMaxPasses = 10;
inline constexpr uint32_t kMaxLanes = 4;

// nullopt for anything but a well-formed string within the caps (salt 8..64 bytes, hash 16..64 bytes).
std::optional<PhcHash> ParsePhc(std::string_view text);
std::string FormatPhc(const PhcHash& hash);

}  // namespace latchkey::keys
