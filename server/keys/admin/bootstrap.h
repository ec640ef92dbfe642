#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/keys/crypto/key_minter.h"
#include "server/model/key_store.h"

namespace latchkey::keys {

// A first key: made without a caller.
struct FirstKey {
  std::string organization;  // Made too if it does not exist.
  std::string display_name;
  std::string role;
};

// Makes the first keys of a new database, only while no owner of `system` has ever existed. Thread-safe.
class Bootstrap {
 public:
  Bootstrap(storage::KeyStore& store, const KeyMinter& minter, std::string server);

  // Whether an owner has ever existed.
  absl::StatusOr<bool> Done();

  // Mints the keys, hands their strings (in the order of `keys`) to `keep`, and only then commits them all at once: a
  // crash in between leaves strings that open nothing, never keys whose strings are lost. One of the keys must be an
  // owner of `system`. ALREADY_BOOTSTRAPPED, and nothing is kept, if an owner has ever existed.
  absl::Status Run(const std::vector<FirstKey>& keys,
                   const std::function<absl::Status(const std::vector<MintedKey>&)>& keep);

 private:
  storage::KeyStore& store_;
  const KeyMinter& minter_;
  const std::string server_;
};

}  // namespace latchkey::keys
