#include "client/src/use_table.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace latchkey::client {
namespace {

constexpr size_t kKeyIdLength = 16;
constexpr size_t kFirstMask = 4095;
constexpr size_t kFirstProbes = 4;
constexpr size_t kProbes = 32;

uint64_t Mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a ^ 0xa0761d6478bd642f) * (b ^ 0xe7037ed1a0b428db);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

void UseTable::Free::operator()(Slot* slots) const { std::free(slots); }

// Zeroed pages that nobody has touched cost nothing.
UseTable::UseTable(size_t keys)
    : mask_(std::bit_ceil(std::clamp<size_t>(keys, kFirstMask + 1, size_t{1} << 20)) - 1),
      slots_(static_cast<Slot*>(std::aligned_alloc(alignof(Slot), (mask_ + 1) * sizeof(Slot)))) {
  if (slots_ == nullptr) throw std::bad_alloc();
  std::memset(static_cast<void*>(slots_.get()), 0, (mask_ + 1) * sizeof(Slot));
}

bool UseTable::Count(std::string_view kid, int32_t version, core::Decision decision) {
  if (kid.size() != kKeyIdLength) return false;
  uint64_t words[2];
  std::memcpy(words, kid.data(), sizeof(words));
  const uint64_t tag =
      (static_cast<uint64_t>(static_cast<uint32_t>(version)) << 4) + (static_cast<uint64_t>(decision) & 15) + 1;
  const size_t hash = Mix(words[0], words[1] + tag);
  for (size_t probe = 0; probe < kFirstProbes + kProbes; ++probe) {
    // The few keys that are used all the time stay within few pages.
    const bool first = probe < kFirstProbes;
    Slot& slot = slots_[first ? (hash + probe) & kFirstMask : ((hash >> 16) + probe) & mask_];
    uint64_t seen = slot.tag.load(std::memory_order_acquire);
    if (seen == 0 && slot.tag.compare_exchange_strong(seen, kTaking, std::memory_order_acquire)) {
      slot.kid[0].store(words[0], std::memory_order_relaxed);
      slot.kid[1].store(words[1], std::memory_order_relaxed);
      slot.count.fetch_add(1, std::memory_order_relaxed);
      slot.tag.store(tag, std::memory_order_release);
      return true;
    }
    // Being taken this very moment, maybe for the same key: then it gets two places, and Drain hands out both.
    if (seen != tag || slot.kid[0].load(std::memory_order_relaxed) != words[0] ||
        slot.kid[1].load(std::memory_order_relaxed) != words[1]) {
      continue;
    }
    slot.count.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  return false;
}

void UseTable::Drain(
    const std::function<void(std::string_view kid, int32_t version, core::Decision, int64_t count)>& take) {
  for (size_t at = 0; at <= mask_; ++at) {
    Slot& slot = slots_[at];
    const uint64_t tag = slot.tag.load(std::memory_order_acquire);
    if (tag == 0 || tag == kTaking) continue;
    const uint64_t words[2] = {slot.kid[0].load(std::memory_order_relaxed),
                               slot.kid[1].load(std::memory_order_relaxed)};
    char kid[kKeyIdLength];
    std::memcpy(kid, words, sizeof(kid));
    const uint32_t count = slot.count.exchange(0, std::memory_order_relaxed);
    slot.tag.store(0, std::memory_order_release);
    if (count == 0) continue;
    take({kid, sizeof(kid)}, static_cast<int32_t>((tag - 1) >> 4), static_cast<core::Decision>((tag - 1) & 15), count);
  }
}

}  // namespace latchkey::client
