#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/keys/crypto/key_ring.h"
#include "server/model/key_store.h"

namespace latchkey::app {

// The key ring in `path`. FAILED_PRECONDITION with one clear line if it is missing, open to others or not a key ring.
absl::StatusOr<keys::KeyRing> LoadKeyRing(const std::string& path);

// A new ring in a new 0600 file. ALREADY_EXISTS if there is a file: an overwritten ring would make every key useless.
absl::StatusOr<keys::KeyRing> CreateKeyRing(const std::string& path);

// OK if the database was used with this ring before, or with none. FAILED_PRECONDITION naming the first secret that
// differs: a wrong ring is a start-up error, never "all keys invalid".
absl::Status CheckKeyRing(storage::KeyStore& store, const keys::KeyRing& ring);

}  // namespace latchkey::app
