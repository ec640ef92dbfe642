#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/secret.h"
#include "server/keys/crypto/hash_pool.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/model/records.h"

namespace latchkey::keys {

// A key string that no store knows yet, with what will be stored of it.
struct MintedKey {
  core::Secret key_string;
  std::string kid;
  std::string key_hint;
  NewSecret secret;  // With the proof, if proofs are stored.
  Proof proof;       // Always: the index of the server that mints it keeps it.

  // A record of it, created at `now`; the caller fills in what is not the secret's.
  KeyRecord RecordFor(const std::string& organization, absl::Time now) const;
};

// Makes key strings and hashes them. Thread-safe.
class KeyMinter {
 public:
  // `store_proofs`: what is stored of a key includes its proof, so that no server needs Argon2 for it
  // (--proofs=shared).
  KeyMinter(const KeyRingHandle& ring, HashPool& hashes, bool store_proofs = true)
      : ring_(ring), hashes_(hashes), store_proofs_(store_proofs) {}

  // Blocks for one Argon2; HASH_POOL_FULL if that would take longer than `patience`. `share`: as HashPool::Admit.
  absl::StatusOr<MintedKey> Mint(const std::string& label, absl::Duration patience,
                                 const std::string& share = "") const;

 private:
  const KeyRingHandle& ring_;
  HashPool& hashes_;
  const bool store_proofs_;
};

}  // namespace latchkey::keys
