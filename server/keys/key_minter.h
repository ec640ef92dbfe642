#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/secret.h"
#include "server/keys/hash_pool.h"
#include "server/keys/key_ring.h"
#include "server/keys/records.h"

namespace latchkey::keys {

// A key string that no store knows yet, with what will be stored of it.
struct MintedKey {
  core::Secret key_string;
  std::string kid;
  std::string key_hint;
  NewSecret secret;
  Proof proof;

  // A record of it, created at `now`; the caller fills in what is not the secret's.
  KeyRecord RecordFor(const std::string& organization, absl::Time now) const;
};

// Makes key strings and hashes them. Thread-safe.
class KeyMinter {
 public:
  KeyMinter(const KeyRing& ring, HashPool& hashes) : ring_(ring), hashes_(hashes) {}

  // Blocks for one Argon2; HASH_POOL_FULL if that would take longer than `patience`.
  absl::StatusOr<MintedKey> Mint(const std::string& label, absl::Duration patience) const;

 private:
  const KeyRing& ring_;
  HashPool& hashes_;
};

}  // namespace latchkey::keys
