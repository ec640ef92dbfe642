#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/core/key_format.h"
#include "client/core/secret.h"
#include "server/model/records.h"

namespace latchkey::keys {

// The operator's secrets: peppers, K_tag, K_proof and K_token, each by id. What they made is stored with the id and is
// found by it, never by trial. Exactly one of each purpose is active: what is made now is made with it. The ids of
// K_tag and K_proof are generations, one base62 digit each. Immutable after loading; thread-safe.
class KeyRing {
 public:
  // A new ring, one random 32-byte secret a purpose. Key strings are minted with generation '1'.
  static KeyRing Generate();
  // From the JSON that Serialise wrote. INVALID_ARGUMENT with one clear line for anything else; the text is never
  // quoted.
  static absl::StatusOr<KeyRing> Parse(const std::string& json);
  // For a 0600 file. A lost generation stays listed.
  core::Secret Serialise() const;

  KeyRing(KeyRing&&) noexcept;
  KeyRing& operator=(KeyRing&&) noexcept;
  ~KeyRing();

  // A fresh key string under the active generation, `label` in front if not empty.
  core::Secret Mint(std::string_view label = "") const;

  // kLostGeneration: the ring lists the generation but has lost its secret, so the filter can't tell; such strings take
  // the slow lane.
  enum class TagCheck { kMinted, kForged, kUnknownGeneration, kLostGeneration };
  // Whether this ring (or one it was rotated from) minted the string. A denial-of-service filter only.
  TagCheck CheckTag(const core::KeyParts& parts) const;

  // The proof under the active generation: what is stored, and what names a key string in single-flight and negative
  // answers.
  Proof ProofOf(const core::KeyParts& parts) const;
  // Under the generation given; an empty Proof if the ring no longer holds it.
  Proof ProofOf(const core::KeyParts& parts, char generation) const;

  const std::string& active_pepper_id() const;
  bool HasPepper(const std::string& id) const;
  // HMAC-SHA-256(pepper[id], "lk1|pre|" len kid len secret), len a big-endian 32-bit length: the input of Argon2id. The
  // ring has the pepper.
  core::Secret PreHash(const std::string& pepper_id, std::string_view kid, std::string_view secret) const;

  // 16 bytes of HMAC-SHA-256(K_token, text): authenticates page tokens.
  std::string TokenMac(std::string_view text) const;

  // For each secret that is held, "purpose/id" → hex of HMAC-SHA-256(secret, "lk1|check") cut to 64 bits: what the
  // database keeps to recognise this ring.
  std::map<std::string, std::string> CheckValues() const;

  struct Entry;

 private:
  KeyRing();
  const Entry* Find(std::string_view purpose, std::string_view id) const;
  const Entry& Active(std::string_view purpose) const;
  static Proof ProofUnder(const Entry& entry, const core::KeyParts& parts);
  std::vector<Entry> entries_;
};

}  // namespace latchkey::keys
