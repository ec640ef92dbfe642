#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "client/core/cidr.h"
#include "client/core/siphash.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Key id as it stands in a key string.
using Kid = std::array<char, 16>;

inline uint64_t HashOfKid(const Kid& kid) {
  uint64_t words[2];
  std::memcpy(words, kid.data(), sizeof(words));
  const auto product = static_cast<unsigned __int128>(words[0] ^ 0xa0761d6478bd642f) * (words[1] ^ 0xe7037ed1a0b428db);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// What the keys of one role have in common. Reference-counted; immutable but for the atomics.
struct RolePart {
  // A key that was answered for at an older revision may slot other permissions by now.
  std::atomic<int64_t> invalidated{0};
  std::vector<std::string> permissions;
  std::atomic<uint32_t> count{1};
  std::string organization;
  std::string role;

  void Ref() { count.fetch_add(1, std::memory_order_relaxed); }
  void Unref() {
    if (count.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
};

// Reference-counted memory block of an Identity, and its entry in the cache if it has one; the text follows the struct.
// What a hit looks at fills the first 64 bytes (one cache line). Immutable once shared, but for the atomics.
struct IdentityBlock {
  static constexpr int64_t kNeverExpires = std::numeric_limits<int64_t>::max();
  static constexpr uint32_t kBelievedForever = std::numeric_limits<uint32_t>::max();

  // --- Looked at by every hit ---
  Kid kid{};
  core::Digest128 digest;              // Of the key string.
  int64_t expires_ns = kNeverExpires;  // BootTime; never lengthened.
  int64_t revision = 0;
  RolePart* role = nullptr;  // Owns a count.
  // Whole seconds of BootTime: from then on the server must be asked again, or grace must allow it.
  uint32_t believed_until_s = kBelievedForever;
  std::atomic<bool> touched{false};
  bool has_cidrs : 1 = false;
  bool has_rest : 1 = false;
  uint16_t display_name_size = 0;
  // --- The rest ---
  const std::vector<core::Cidr>* cidrs = nullptr;  // Owned; nullptr = anywhere. Empty: there were some, none readable.
  int64_t expires_at_us = 0;                       // Unix time; the largest number = never.
  int32_t secret_version = 0;
  mutable std::atomic<uint32_t> count{1};  // The cache's entry is one; hazard slots (hazard_slots.h) are not counted.
  uint32_t ring_index = 0;
  uint16_t owner_size = 0;
  uint16_t labels_size = 0;
  // Display name, owner, labels follow; then, if `has_rest`, its size in 4 bytes and the rest.

  uint64_t hash() const { return HashOfKid(kid); }
  int64_t believed_until_ns() const {
    return believed_until_s == kBelievedForever ? std::numeric_limits<int64_t>::max()
                                                : believed_until_s * int64_t{1'000'000'000};
  }
  // Rounds down.
  void BelieveUntil(int64_t boot_ns) { believed_until_s = static_cast<uint32_t>(boot_ns / 1'000'000'000); }
  char* text() { return reinterpret_cast<char*>(this) + sizeof(IdentityBlock); }
  const char* text() const { return reinterpret_cast<const char*>(this) + sizeof(IdentityBlock); }
  size_t text_size() const { return named_size() + (has_rest ? sizeof(uint32_t) + rest().size() : 0); }
  std::string_view display_name() const { return {text(), display_name_size}; }
  std::string_view owner() const { return {text() + display_name_size, owner_size}; }
  std::string_view labels() const { return {text() + display_name_size + owner_size, labels_size}; }
  // What no key of a server's has, but maybe one of a test's: each text after its size in 2 bytes, first the key id if
  // it is longer than a Kid ("" otherwise), then the blocks of addresses that can't be read, as given. "" if there are
  // none.
  std::string_view rest() const {
    if (!has_rest) return {};
    uint32_t size;
    std::memcpy(&size, text() + named_size(), sizeof(size));
    return {text() + named_size() + sizeof(size), size};
  }
  // Of the heap, its share of the allocator's included.
  size_t memory_bytes() const;

  void Ref() const { count.fetch_add(1, std::memory_order_relaxed); }
  void Unref() const {
    if (count.fetch_sub(1, std::memory_order_acq_rel) == 1) Delete(this);
  }

  // Both with one count, the caller's. Texts of more than 64 KiB are cut; labels that would be, are left out. Takes
  // over one count of `role`.
  static IdentityBlock* Make(const Identity::Fields& fields, RolePart* role);
  // The same identity with another role part; nothing of the cache's own is copied.
  static IdentityBlock* Copy(const IdentityBlock& from, RolePart* role);

 private:
  size_t named_size() const { return size_t{display_name_size} + owner_size + labels_size; }
  static IdentityBlock* Allocate(size_t text_size);
  static void Delete(const IdentityBlock* block);
};
static_assert(sizeof(IdentityBlock) == 96 && offsetof(IdentityBlock, cidrs) == 64);

// Access to the private parts of Identity.
class IdentityRefs {
 public:
  // Takes over one count.
  static Identity Counted(const IdentityBlock* block) { return Identity(block, nullptr); }
  static Identity Protected(const IdentityBlock* block, HazardSlot* slot) { return Identity(block, slot); }
  // nullptr for nobody's.
  static const IdentityBlock* BlockOf(const Identity& identity) { return identity.block_; }
};

}  // namespace latchkey::client
