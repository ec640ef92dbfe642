#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/app/options.h"
#include "server/keys/admin/bootstrap.h"
#include "server/keys/crypto/key_ring_handle.h"

namespace latchkey::app {

// A first key and the 0600 file its string goes to: the string and a newline.
struct FirstKeyFile {
  keys::FirstKey key;
  std::string file;
};

// Checks the ring against the database and makes the first keys; files first, then the commit. ALREADY_BOOTSTRAPPED if
// an owner has ever existed (no file is touched then). `replace`: overwrite files, which a crash between file and
// commit leaves behind. The schema is there already.
absl::Status MakeFirstKeys(const std::string& connection_string, const keys::KeyRingHandle& ring,
                           const ServiceOptions& options, const std::vector<FirstKeyFile>& keys, bool replace);

}  // namespace latchkey::app
