#include "server/app/first_keys.h"

#include <unistd.h>

#include "server/app/files.h"
#include "server/app/key_ring_file.h"
#include "server/app/server.h"
#include "server/base/errors.h"

namespace latchkey::app {

absl::Status MakeFirstKeys(const std::string& connection_string, const keys::KeyRingHandle& ring,
                           const ServiceOptions& options, const std::vector<FirstKeyFile>& keys, bool replace) {
  const base::SystemClock clock;
  const std::unique_ptr<storage::KeyStore> store = OpenStore(connection_string, 1);
  if (absl::Status checked = CheckKeyRing(*store, *keys::KeyRingHandle::Pin(ring)); !checked.ok()) return checked;
  keys::HashPool hashes(HashPoolOptions(options), clock);
  const keys::KeyMinter minter(ring, hashes);
  keys::Bootstrap bootstrapper(*store, minter, ServerName());

  std::vector<keys::FirstKey> first;
  for (const FirstKeyFile& key : keys) first.push_back(key.key);
  std::vector<std::string> written;
  const auto keep = [&](const std::vector<keys::MintedKey>& minted) -> absl::Status {
    for (size_t i = 0; i < minted.size(); ++i) {
      const core::Secret line(std::string(minted[i].key_string.Expose()) + "\n");
      const absl::Status status = WriteSecretFile(keys[i].file, line, replace);
      if (!status.ok()) return status;
      written.push_back(keys[i].file);
    }
    return absl::OkStatus();
  };
  const absl::Status done = bootstrapper.Run(first, keep);
  // Then the keys may exist, and these are their only strings.
  const bool may_exist = errors::ReasonOf(done) == errors::Reason::kOutcomeUnknown;
  if (!done.ok() && !may_exist) {
    for (const std::string& file : written) unlink(file.c_str());
  }
  return done;
}

}  // namespace latchkey::app
