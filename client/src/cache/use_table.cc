#include "client/src/cache/use_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <span>

namespace latchkey::client {
namespace {

constexpr size_t kKeyIdLength = 16;
constexpr size_t kFewest = 4096;
constexpr size_t kMost = size_t{1} << 20;
constexpr size_t kMostInShard = 16384;
constexpr size_t kPageBytes = 4096;
constexpr uint64_t kTaking = ~uint64_t{0};
// What is added for others than the calling thread's shard.
constexpr uint32_t kAnyShard = ThreadShard::kShards;

uint64_t Mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a ^ 0xa0761d6478bd642f) * (b ^ 0xe7037ed1a0b428db);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Zeroed, and nothing of it is taken from the machine before it is written to. Not by huge pages, which would take 2
// MiB for one key.
void* Map(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  return memory;
}

}  // namespace

void UseTable::Unmap::operator()(Slot* slots) const { munmap(static_cast<void*>(slots), bytes); }

UseTable::UseTable(size_t keys)
    : mask_(std::bit_ceil(std::clamp(keys, kFewest, kMost)) - 1),
      shard_mask_(std::min(mask_, kMostInShard - 1)),
      size_(ThreadShard::kShards * (shard_mask_ + 1) + mask_ + 1),
      slots_(static_cast<Slot*>(Map(size_ * sizeof(Slot))), Unmap{size_ * sizeof(Slot)}),
      page_is_taken_(std::make_unique<std::atomic<bool>[]>(size_ * sizeof(Slot) / kPageBytes)) {}

// Inlined into Count: a hit counts its nanoseconds.
[[gnu::always_inline]] inline bool UseTable::Add(Part part, uint32_t shard, const Key& key, uint64_t count) {
  const size_t hash = Mix(key.kid[0], key.kid[1]) >> part.shift;
  for (size_t probe = 0; probe < part.probes; ++probe) {
    const size_t at = part.first + ((hash + probe) & part.mask);
    Slot& slot = slots_[at];
    uint64_t seen = slot.tag.load(std::memory_order_acquire);
    if (seen == 0 && slot.tag.compare_exchange_strong(seen, kTaking, std::memory_order_acquire)) {
      page_is_taken_[at * sizeof(Slot) / kPageBytes].store(true, std::memory_order_relaxed);
      slot.kid[0].store(key.kid[0], std::memory_order_relaxed);
      slot.kid[1].store(key.kid[1], std::memory_order_relaxed);
      slot.count.store(count, std::memory_order_relaxed);
      slot.tag.store(key.tag, std::memory_order_release);
      return true;
    }
    // Being taken this very moment, maybe for the same key: then it gets two places, and Drain adds them up.
    if (seen != key.tag || slot.kid[0].load(std::memory_order_relaxed) != key.kid[0] ||
        slot.kid[1].load(std::memory_order_relaxed) != key.kid[1]) {
      continue;
    }
    ThreadShard::Add(shard, slot.count, count);
    return true;
  }
  return false;
}

bool UseTable::Count(std::string_view kid, int32_t version, core::Decision decision) {
  if (kid.size() != kKeyIdLength) return false;
  Key key;
  std::memcpy(key.kid, kid.data(), sizeof(key.kid));
  key.tag = (static_cast<uint64_t>(static_cast<uint32_t>(version)) << 4) + (static_cast<uint64_t>(decision) & 15) + 1;
  const uint32_t shard = ThreadShard::Mine();
  return Add(ShardPart(shard), shard, key, 1) || Add(CommonPart(), kAnyShard, key, 1);
}

template <typename Take>
void UseTable::Empty(size_t first, size_t last, const Take& take) {
  constexpr size_t kSlotsOfPage = kPageBytes / sizeof(Slot);
  for (size_t page = first; page < last; page += kSlotsOfPage) {
    if (!page_is_taken_[page / kSlotsOfPage].load(std::memory_order_relaxed)) continue;
    for (Slot& slot : std::span(&slots_[page], kSlotsOfPage)) {
      const uint64_t tag = slot.tag.load(std::memory_order_acquire);
      if (tag == 0 || tag == kTaking) continue;
      const Key key = {
          .tag = tag,
          .kid = {slot.kid[0].load(std::memory_order_relaxed), slot.kid[1].load(std::memory_order_relaxed)}};
      const uint64_t count = slot.count.load(std::memory_order_relaxed);
      slot.tag.store(0, std::memory_order_release);
      take(key, count);
    }
  }
}

void UseTable::Drain(
    const std::function<void(std::string_view kid, int32_t version, core::Decision, int64_t count)>& take) {
  const auto hand_out = [&take](const Key& key, uint64_t count) {
    char kid[kKeyIdLength];
    std::memcpy(kid, key.kid, sizeof(kid));
    take({kid, sizeof(kid)}, static_cast<int32_t>((key.tag - 1) >> 4), static_cast<core::Decision>((key.tag - 1) & 15),
         static_cast<int64_t>(count));
  };
  const Part common = CommonPart();
  Empty(0, common.first, [&](const Key& key, uint64_t count) {
    if (!Add(common, kAnyShard, key, count)) hand_out(key, count);
  });
  Empty(common.first, size_, hand_out);
}

size_t UseTable::memory_bytes() const {
  const size_t pages = size_ * sizeof(Slot) / kPageBytes;
  size_t taken = 0;
  for (size_t i = 0; i < pages; ++i) taken += page_is_taken_[i].load(std::memory_order_relaxed) ? 1 : 0;
  return sizeof(UseTable) + pages * sizeof(page_is_taken_[0]) + taken * kPageBytes;
}

}  // namespace latchkey::client
