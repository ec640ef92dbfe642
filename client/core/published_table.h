#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "client/core/epochs.h"

namespace latchkey::core {

// Wait-free-to-read hash table of pointers, for any number of readers and one writer: readers never allocate and write
// no shared memory. Open addressing, between 3/8 and 3/4 full while it only grows, 8 bytes a slot; at most 3/4 of
// the slots hold entries or the marks of erased ones.
//
// `Entry` is immutable where readers look at it (atomics excepted), has `uint64_t hash() const`, whose lowest bits and
// highest three are well mixed, and is found by `Find(hash, matches)`. Its address is a multiple of 8. Readers hold an
// Epochs::Pin over Find and every use of what it returns. Writers are serialised by the owner. The table does not own
// entries: the writer retires what Put and Erase return with its own deleter.
//
// A reader finds every entry that is in the table from the beginning of its Find to the end, also while the table grows
// or another entry takes its place (it finds either). It never finds what was replaced or erased before it began.
template <typename Entry>
class PublishedTable {
 public:
  PublishedTable() : slots_(new Slots(kSmallest)) {}
  ~PublishedTable() { delete slots_.load(std::memory_order_relaxed); }  // No readers any more. Entries are the owner's.
  PublishedTable(const PublishedTable&) = delete;
  PublishedTable& operator=(const PublishedTable&) = delete;

  // --- Readers, pinned ---
  // The entry with that hash for which `matches(const Entry&)` is true; nullptr if there is none.
  template <typename Matches>
  Entry* Find(uint64_t hash, const Matches& matches) const {
    const Slots& slots = *slots_.load();
    const uintptr_t tag = TagOf(hash);
    for (size_t at = hash & slots.mask;; at = (at + 1) & slots.mask) {
      const uintptr_t word = slots.words[at].load();
      if (word == kEmpty) return nullptr;
      // The tag spares seven of eight looks at entries of other hashes, each of them a cache miss.
      if ((word & kTagMask) != tag || !IsEntry(word)) continue;
      Entry* entry = EntryOf(word);
      if (entry->hash() == hash && matches(static_cast<const Entry&>(*entry))) return entry;
    }
  }

  // --- The one writer ---
  // Room for `count` entries, so that filling does not rehash.
  void Reserve(size_t count) {
    const size_t erased = used_ - size();
    if (count > size() && count + erased > Limit(Current())) Rebuild(CapacityFor(count));
  }

  // Puts `entry` in the place of the one that `matches`, which it returns, or adds it and returns nullptr.
  template <typename Matches>
  Entry* Put(Entry* entry, const Matches& matches) {
    const uint64_t hash = entry->hash();
    const size_t there = Locate(hash, matches);
    if (there != kNowhere) {
      std::atomic<uintptr_t>& word = Current().words[there];
      Entry* replaced = EntryOf(word.load(std::memory_order_relaxed));
      word.store(WordOf(entry, hash));
      return replaced;
    }
    // Twice the entries: either the table doubles, or it had that many marks of erased entries to sweep away. Both make
    // room for a share of the entries there are, so that the cost a Put stays constant.
    if (used_ >= Limit(Current())) Rebuild(CapacityFor(2 * size()));
    Slots& slots = Current();
    size_t at = hash & slots.mask;
    while (IsEntry(slots.words[at].load(std::memory_order_relaxed))) at = (at + 1) & slots.mask;
    if (slots.words[at].load(std::memory_order_relaxed) == kEmpty) ++used_;
    slots.words[at].store(WordOf(entry, hash));
    SetSize(size() + 1);
    return nullptr;
  }

  // Unlinks and returns it; nullptr if there was none.
  template <typename Matches>
  Entry* Erase(uint64_t hash, const Matches& matches) {
    size_t at = Locate(hash, matches);
    if (at == kNowhere) return nullptr;
    Slots& slots = Current();
    Entry* erased = EntryOf(slots.words[at].load(std::memory_order_relaxed));
    slots.words[at].store(kErased);
    SetSize(size() - 1);
    // Marks that nothing lies behind are not needed: no reader has to walk over them to what it looks for.
    if (slots.words[(at + 1) & slots.mask].load(std::memory_order_relaxed) != kEmpty) return erased;
    for (; slots.words[at].load(std::memory_order_relaxed) == kErased; at = (at - 1) & slots.mask) {
      slots.words[at].store(kEmpty);
      --used_;
    }
    return erased;
  }

  // Unlinks everything; calls `each(Entry*)` on what was there, once no later reader can find it.
  template <typename Each>
  void Clear(const Each& each) {
    Slots* const cleared = &Current();
    slots_.store(new Slots(kSmallest));
    used_ = 0;
    SetSize(0);
    cleared->ForEach(each);
    Discard(cleared);
  }

  // Every entry; the writer's thread, or pinned. What is put or erased meanwhile may be missing or not.
  template <typename Each>
  void ForEach(const Each& each) const {
    slots_.load()->ForEach(each);
  }

  // Both from any thread, not pinned.
  size_t size() const { return size_.load(std::memory_order_relaxed); }
  // Of the slots, not the entries.
  size_t memory_bytes() const {
    const Epochs::Pin pin;
    return sizeof(Slots) + (slots_.load()->mask + 1) * sizeof(uintptr_t);
  }

 private:
  // A word is the entry's address with three bits of its hash in the place of the zeros at its end.
  static constexpr uintptr_t kTagMask = 7;
  static constexpr uintptr_t kEmpty = 0;
  static constexpr uintptr_t kErased = 1;
  static constexpr size_t kSmallest = 16;
  static constexpr size_t kNowhere = ~size_t{0};

  struct Slots {
    explicit Slots(size_t capacity) : mask(capacity - 1), words(new std::atomic<uintptr_t>[capacity]()) {}

    template <typename Each>
    void ForEach(const Each& each) const {
      for (size_t at = 0; at <= mask; ++at) {
        const uintptr_t word = words[at].load();
        if (IsEntry(word)) each(EntryOf(word));
      }
    }

    const size_t mask;  // The number of slots, a power of two, less one.
    const std::unique_ptr<std::atomic<uintptr_t>[]> words;
  };

  static bool IsEntry(uintptr_t word) { return word > kTagMask; }
  static Entry* EntryOf(uintptr_t word) { return reinterpret_cast<Entry*>(word & ~kTagMask); }
  static uintptr_t TagOf(uint64_t hash) { return hash >> 61; }
  static uintptr_t WordOf(const Entry* entry, uint64_t hash) {
    static_assert(alignof(Entry) > kTagMask, "the three lowest bits of an entry's address must be 0");
    return reinterpret_cast<uintptr_t>(entry) | TagOf(hash);
  }

  static size_t Limit(const Slots& slots) { return (slots.mask + 1) / 4 * 3; }
  static size_t CapacityFor(size_t count) { return std::max(kSmallest, std::bit_ceil((count * 4 + 2) / 3)); }

  // Only the writer replaces it.
  Slots& Current() const { return *slots_.load(std::memory_order_relaxed); }
  void SetSize(size_t size) { size_.store(size, std::memory_order_relaxed); }

  template <typename Matches>
  size_t Locate(uint64_t hash, const Matches& matches) const {
    const Slots& slots = Current();
    for (size_t at = hash & slots.mask;; at = (at + 1) & slots.mask) {
      const uintptr_t word = slots.words[at].load(std::memory_order_relaxed);
      if (word == kEmpty) return kNowhere;
      if ((word & kTagMask) != TagOf(hash) || !IsEntry(word)) continue;
      const Entry& entry = *EntryOf(word);
      if (entry.hash() == hash && matches(entry)) return at;
    }
  }

  // Readers of the old slots still find in them all that was there when they began.
  void Rebuild(size_t capacity) {
    Slots* const old = &Current();
    auto rebuilt = std::make_unique<Slots>(capacity);
    old->ForEach([&rebuilt](const Entry* entry) {
      const uint64_t hash = entry->hash();
      size_t at = hash & rebuilt->mask;
      while (rebuilt->words[at].load(std::memory_order_relaxed) != kEmpty) at = (at + 1) & rebuilt->mask;
      rebuilt->words[at].store(WordOf(entry, hash), std::memory_order_relaxed);
    });
    slots_.store(rebuilt.release());
    used_ = size();
    Discard(old);
  }

  static void Discard(const Slots* slots) {
    Epochs::Retire(slots);
    Epochs::Collect();  // They can be many megabytes.
  }

  std::atomic<Slots*> slots_;
  std::atomic<size_t> size_{0};
  size_t used_ = 0;  // Slots that are not empty: entries and the marks of erased ones.
};

}  // namespace latchkey::core
