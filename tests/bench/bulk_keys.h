#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/keys/crypto/key_ring.h"

namespace latchkey::bench {

// What was put into a database.
struct BulkKeys {
  // Key strings of keys whose proof is stored: they are ALLOWED without Argon2. Their Argon2 hashes are of nothing, so
  // that they could not be ALLOWED with it.
  std::vector<std::string> proven;
  // Without one: each costs an Argon2, which finds the secret to be wrong.
  std::vector<std::string> unproven;
};

// Copies keys of organization `acme`, which exists, into the tables, as so many creations would have left them:
// records, versions, proofs, and a log row each with the right chain. Minting them would cost an Argon2 each. Nobody
// else writes meanwhile. Aborts the process if it can't.
BulkKeys CopyKeys(const std::string& connection_string, const keys::KeyRing& ring, int64_t proven, int64_t unproven);

// The key id of a key string.
std::string KeyIdOf(const std::string& key_string);

}  // namespace latchkey::bench
