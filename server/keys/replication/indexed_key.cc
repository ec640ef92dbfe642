#include "server/keys/replication/indexed_key.h"

#include <malloc.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

namespace latchkey::keys {
namespace {

constexpr int64_t kNeverUs = std::numeric_limits<int64_t>::max();

int64_t MicrosOf(absl::Time time) { return time == Never() ? kNeverUs : absl::ToUnixMicros(time); }

// An address nobody can have (RFC 4291 §2.5.2): leaving an unreadable block out could leave none, and none is anywhere.
core::Cidr BlockOf(std::string_view text) {
  static const core::Cidr kNobody = core::Cidr::Parse("::/128").value();
  const absl::StatusOr<core::Cidr> block = core::Cidr::Parse(text);
  return block.ok() ? *block : kNobody;
}

struct HashSecret {
  uint64_t first, second, third;
};

const HashSecret& Secret() {
  static const HashSecret kSecret = [] {
    std::random_device random;
    const auto draw = [&random] { return uint64_t{random()} << 32 | random(); };
    return HashSecret{draw(), draw(), draw() | 1};
  }();
  return kSecret;
}

uint64_t Fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

class TextWriter {
 public:
  explicit TextWriter(char* at) : at_(at) {}
  void Put(std::string_view text) {
    if (!text.empty()) std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  void PutWithLength(std::string_view text) {
    const auto length = static_cast<uint32_t>(text.size());
    std::memcpy(at_, &length, sizeof length);
    at_ += sizeof length;
    Put(text);
  }

 private:
  char* at_;
};

std::string TakeWithLength(const char*& at) {
  uint32_t length = 0;
  std::memcpy(&length, at, sizeof length);
  at += sizeof length;
  const std::string text(at, length);
  at += length;
  return text;
}

}  // namespace

IndexedKey* IndexedKey::Make(const storage::SnapshotKey& key, uint32_t organization_slot, uint32_t role_slot) {
  // What lies behind the header is laid out and copied as bytes.
  static_assert(sizeof(IndexedKey) % alignof(StoredVersion) == 0 && alignof(IndexedKey) == alignof(StoredVersion));
  static_assert(alignof(core::Cidr) <= alignof(StoredVersion));
  static_assert(std::is_trivially_copyable_v<core::Cidr> && std::is_trivially_copyable_v<StoredVersion>);

  const size_t version_count = std::min<size_t>(key.versions.size(), std::numeric_limits<uint16_t>::max());
  size_t size = sizeof(IndexedKey) + version_count * sizeof(StoredVersion) +
                key.allowed_cidrs.size() * sizeof(core::Cidr) + key.display_name.size() + key.owner.size();
  for (const auto& [name, value] : key.labels) size += 2 * sizeof(uint32_t) + name.size() + value.size();

  IndexedKey* const made = new (::operator new(size)) IndexedKey;
  made->kid_length_ = static_cast<uint8_t>(std::min(key.kid.size(), kMaxKidLength));
  std::copy_n(key.kid.begin(), made->kid_length_, made->kid_.begin());
  made->expires_us_ = MicrosOf(key.expires_at);
  made->purge_us_ = MicrosOf(key.purge_at);
  made->organization_slot_ = organization_slot;
  made->role_slot_ = role_slot;
  made->size_ = static_cast<uint32_t>(size);
  made->cidr_count_ = static_cast<uint32_t>(key.allowed_cidrs.size());
  made->label_count_ = static_cast<uint32_t>(key.labels.size());
  made->display_name_length_ = static_cast<uint32_t>(key.display_name.size());
  made->owner_length_ = static_cast<uint32_t>(key.owner.size());
  made->version_count_ = static_cast<uint16_t>(version_count);
  made->deleted_ = key.deleted;

  auto* version = const_cast<StoredVersion*>(made->versions());
  for (const storage::SnapshotVersion& of : key.versions.last(version_count)) {
    new (version++) StoredVersion{MicrosOf(of.expires_at), of.id, of.proof.ring_id, of.proof.digest};
  }
  auto* cidr = const_cast<core::Cidr*>(made->cidrs());
  for (const std::string_view text : key.allowed_cidrs) new (cidr++) core::Cidr(BlockOf(text));
  TextWriter texts(const_cast<char*>(made->texts()));
  texts.Put(key.display_name);
  texts.Put(key.owner);
  for (const auto& [name, value] : key.labels) {
    texts.PutWithLength(name);
    texts.PutWithLength(value);
  }
  return made;
}

void IndexedKey::Destroy(IndexedKey* key) {
  key->~IndexedKey();
  ::operator delete(key);
}

uint64_t IndexedKey::HashOf(std::string_view kid) {
  static_assert(kMaxKidLength == 2 * sizeof(uint64_t));
  std::array<uint64_t, 2> words{};
  if (kid.size() == kMaxKidLength) {
    std::memcpy(words.data(), kid.data(), kMaxKidLength);
  } else if (!kid.empty()) {
    std::memcpy(words.data(), kid.data(), std::min(kid.size(), kMaxKidLength));
  }
  const HashSecret& secret = Secret();
  const uint64_t mixed = Fold(words[0] ^ secret.first, words[1] ^ secret.second);
  return Fold(mixed ^ secret.second, secret.third) ^ std::rotl(mixed, 32);
}

absl::Time IndexedKey::TimeOf(int64_t us) { return us == kNeverUs ? Never() : absl::FromUnixMicros(us); }

IndexedKey::Version IndexedKey::version(int i) const {
  const StoredVersion& stored = versions()[i];
  return {stored.id, {stored.ring_id, stored.digest}, TimeOf(stored.expires_us)};
}

Proof IndexedKey::ProofOf(int32_t version_id) const {
  for (int i = 0; i < version_count_; ++i) {
    if (versions()[i].id == version_id) return {versions()[i].ring_id, versions()[i].digest};
  }
  return {};
}

std::map<std::string, std::string> IndexedKey::labels() const {
  std::map<std::string, std::string> labels;
  const char* at = texts() + display_name_length_ + owner_length_;
  for (uint32_t i = 0; i < label_count_; ++i) {
    std::string name = TakeWithLength(at);
    labels.emplace(std::move(name), TakeWithLength(at));
  }
  return labels;
}

IndexedKey* IndexedKey::Copy() const {
  void* const block = ::operator new(size_);
  std::memcpy(block, static_cast<const void*>(this), size_);
  return static_cast<IndexedKey*>(block);
}

void IndexedKey::SetProof(int i, const Proof& proof) {
  StoredVersion& stored = const_cast<StoredVersion*>(versions())[i];
  stored.ring_id = proof.ring_id;
  stored.digest = proof.digest;
}

size_t IndexedKey::memory_bytes() const {
  // glibc keeps one word before each block.
  return malloc_usable_size(const_cast<IndexedKey*>(this)) + sizeof(size_t);
}

}  // namespace latchkey::keys
