#include "server/app/key_ring_file.h"

#include "absl/strings/str_cat.h"
#include "server/app/files.h"

namespace latchkey::app {

absl::StatusOr<keys::KeyRing> LoadKeyRing(const std::string& path) {
  absl::StatusOr<core::Secret> text = ReadSecretFile(path);
  if (!text.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("key ring: ", std::string(text.status().message())));
  }
  std::string json(text->Expose());
  absl::StatusOr<keys::KeyRing> ring = keys::KeyRing::Parse(json);
  core::CleanseString(json);
  if (!ring.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("key ring ", path, ": ", std::string(ring.status().message())));
  }
  return ring;
}

absl::StatusOr<keys::KeyRing> CreateKeyRing(const std::string& path) {
  keys::KeyRing ring = keys::KeyRing::Generate();
  const absl::Status written = WriteSecretFile(path, ring.Serialise(), /*replace=*/false);
  if (!written.ok()) return written;
  return ring;
}

absl::Status CheckKeyRing(storage::KeyStore& store, const keys::KeyRing& ring) {
  const std::map<std::string, std::string> ours = ring.CheckValues();
  const auto stored = store.SettleKeyRingChecks(ours);
  if (!stored.ok()) return stored.status();
  for (const auto& [id, value] : ours) {
    const auto found = stored->find(id);
    if (found == stored->end() || found->second != value) {
      return absl::FailedPreconditionError(absl::StrCat(
          "wrong key ring: its secret ", id,
          " is not the one this database's keys were made with; put the right one back (serve: --keyring, dev: "
          "keyring.json in the data directory)"));
    }
  }
  return absl::OkStatus();
}

}  // namespace latchkey::app
