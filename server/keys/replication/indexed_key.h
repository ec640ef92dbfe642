#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/core/cidr.h"
#include "server/model/key_store.h"
#include "server/model/records.h"

namespace latchkey::keys {

// A key as the index keeps it: one block of memory with what a verdict and an identity need and nothing else. With a
// display name and an owner of some 20 characters, one version and its proof it takes about 150 bytes. Immutable once
// it is in the index.
//
// Made by Make and WithProofs and destroyed by Destroy alone; the index retires the ones it replaces.
class IndexedKey {
 public:
  // Of the kids that key strings have; a shorter one works too, a longer one has no place.
  static constexpr size_t kMaxKidLength = 16;

  struct Version {
    int32_t id = 0;
    Proof proof;  // Empty = none is known.
    absl::Time expires_at = Never();
  };

  // `organization_slot` and `role_slot` are the index's numbers of the key's organization and role. The kid must not be
  // longer than kMaxKidLength. Times are kept in whole microseconds, rounded down. A block of allowed_cidrs that can't
  // be read allows nobody. At most 65,535 versions are kept, the newest.
  static IndexedKey* Make(const storage::SnapshotKey& key, uint32_t organization_slot, uint32_t role_slot);
  static void Destroy(IndexedKey* key);
  IndexedKey(const IndexedKey&) = delete;
  IndexedKey& operator=(const IndexedKey&) = delete;

  // Mixed with a random value of this process: who chooses kids can't choose their places in a table.
  static uint64_t HashOf(std::string_view kid);
  uint64_t hash() const { return HashOf(kid()); }

  // The views and spans are good as long as the key is.
  std::string_view kid() const { return {kid_.data(), kid_length_}; }
  std::string_view display_name() const { return {texts(), display_name_length_}; }
  std::string_view owner() const { return {texts() + display_name_length_, owner_length_}; }
  std::map<std::string, std::string> labels() const;
  absl::Span<const core::Cidr> allowed_cidrs() const { return {cidrs(), cidr_count_}; }
  absl::Time expires_at() const { return TimeOf(expires_us_); }
  absl::Time purge_at() const { return TimeOf(purge_us_); }
  bool deleted() const { return deleted_; }
  int version_count() const { return version_count_; }
  Version version(int i) const;  // Oldest first; 0 ≤ i < version_count().
  uint32_t organization_slot() const { return organization_slot_; }
  uint32_t role_slot() const { return role_slot_; }

  // The proof of a version; empty if none is known or there is no such version.
  Proof ProofOf(int32_t version_id) const;
  // The same key with other proofs: `proof_of(version id)` is asked for each version.
  template <typename ProofOf>
  IndexedKey* WithProofs(const ProofOf& proof_of) const {
    IndexedKey* const copy = Copy();
    for (int i = 0; i < version_count(); ++i) copy->SetProof(i, proof_of(version(i).id));
    return copy;
  }

  // What the allocator spends on it.
  size_t memory_bytes() const;

 private:
  struct StoredVersion {
    int64_t expires_us;
    int32_t id;
    char ring_id;
    std::array<char, 16> digest;
  };

  IndexedKey() = default;
  ~IndexedKey() = default;

  static absl::Time TimeOf(int64_t us);
  IndexedKey* Copy() const;
  void SetProof(int i, const Proof& proof);

  // The block: this header, the versions, the blocks of addresses, and the texts: display name, owner, then each
  // label's name and value, both behind their lengths.
  const StoredVersion* versions() const { return reinterpret_cast<const StoredVersion*>(this + 1); }
  const core::Cidr* cidrs() const { return reinterpret_cast<const core::Cidr*>(versions() + version_count_); }
  const char* texts() const { return reinterpret_cast<const char*>(cidrs() + cidr_count_); }

  std::array<char, kMaxKidLength> kid_{};
  int64_t expires_us_ = 0;
  int64_t purge_us_ = 0;
  uint32_t organization_slot_ = 0;
  uint32_t role_slot_ = 0;
  uint32_t size_ = 0;  // Of the whole block.
  uint32_t cidr_count_ = 0;
  uint32_t label_count_ = 0;
  uint32_t display_name_length_ = 0;
  uint32_t owner_length_ = 0;
  uint16_t version_count_ = 0;
  uint8_t kid_length_ = 0;
  bool deleted_ = false;
};

}  // namespace latchkey::keys
