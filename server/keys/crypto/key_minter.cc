#include "server/keys/crypto/key_minter.h"

#include <utility>

#include "client/core/key_format.h"
#include "server/base/errors.h"

namespace latchkey::keys {

KeyRecord MintedKey::RecordFor(const std::string& organization, absl::Time now) const {
  KeyRecord key;
  key.organization = organization;
  key.kid = kid;
  key.key_hint = key_hint;
  key.created_at = now;
  key.updated_at = now;
  key.versions = {SecretVersion{secret.version, now, Never()}};
  return key;
}

absl::StatusOr<MintedKey> KeyMinter::Mint(const std::string& label, absl::Duration patience,
                                          const std::string& share) const {
  const absl::StatusOr<HashPool::Ticket> ticket = hashes_.Admit(patience, HashPool::Priority::kInteractive, share);
  if (!ticket.ok()) return ticket.status();
  MintedKey minted;
  core::Secret input;
  {
    const KeyRingHandle::Pin ring(ring_);
    minted.key_string = ring->Mint(label);
    const std::optional<core::KeyParts> parts = core::ParseKeyString(minted.key_string.Expose());
    if (!parts) return errors::Internal("a minted key string could not be read back");
    minted.kid = std::string(parts->kid);
    minted.key_hint = core::KeyHint(*parts);
    minted.proof = ring->ProofOf(*parts);
    if (store_proofs_) minted.secret.proof = minted.proof;
    minted.secret.pepper_id = ring->active_pepper_id();
    input = ring->PreHash(minted.secret.pepper_id, parts->kid, parts->secret);
  }
  absl::StatusOr<std::string> hash = hashes_.Hash(*ticket, input);
  if (!hash.ok()) return hash.status();
  minted.secret.hash = *std::move(hash);
  return minted;
}

}  // namespace latchkey::keys
