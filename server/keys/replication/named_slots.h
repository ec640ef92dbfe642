#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "client/core/epochs.h"
#include "client/core/published_table.h"
#include "client/core/siphash.h"

namespace latchkey::keys {

// Records by (organization, id), each in a slot whose number stays the same as long as this lives, so that a key finds
// its role without a look-up. A slot may be empty: something names a record that does not exist (yet, or any more).
//
// Any number of readers, who hold an Epochs::Pin over the call and every use of what it returns; one writer at a time.
template <typename Record>
class NamedSlots {
 public:
  NamedSlots() = default;
  // No readers any more.
  ~NamedSlots() {
    for (uint32_t number = 0; number < used_; ++number) delete At(number).record.load(std::memory_order_relaxed);
    for (std::atomic<Slot*>& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
  }
  NamedSlots(const NamedSlots&) = delete;
  NamedSlots& operator=(const NamedSlots&) = delete;

  // --- Readers ---
  // nullptr = the slot is empty.
  const Record* Of(uint32_t number) const { return At(number).record.load(); }
  // What the slot is for, also if it is empty.
  std::string_view IdOf(uint32_t number) const { return At(number).id; }
  const Record* Find(std::string_view organization, std::string_view id) const {
    const Slot* const slot = FindSlot(organization, id);
    return slot == nullptr ? nullptr : slot->record.load();
  }

  // --- The writer ---
  // The number of the slot, an empty one if there was none.
  uint32_t NumberOf(std::string_view organization, std::string_view id) {
    if (const Slot* const slot = FindSlot(organization, id)) return slot->number;
    const uint32_t number = used_++;
    const Place place = PlaceOf(number);
    std::atomic<Slot*>& chunk = chunks_[place.chunk];
    if (chunk.load(std::memory_order_relaxed) == nullptr) chunk.store(new Slot[size_t{kFirstChunk} << place.chunk]);
    Slot& slot = At(number);
    slot.hash_ = HashOf(organization, id);
    slot.number = number;
    slot.organization = organization;
    slot.id = id;
    names_.Put(&slot, [](const Slot&) { return false; });
    return number;
  }
  // Puts `record`, nullptr for none, in the place of what was there, which is retired.
  void Put(uint32_t number, std::unique_ptr<const Record> record) {
    Slot& slot = At(number);
    const Record* const replaced = slot.record.load(std::memory_order_relaxed);
    slot.record.store(record.release());
    if (replaced != nullptr) core::Epochs::Retire(replaced);
  }

 private:
  struct Slot {
    uint64_t hash() const { return hash_; }

    // The record first: what a key needs of the slot.
    std::atomic<const Record*> record{nullptr};
    uint64_t hash_ = 0;
    uint32_t number = 0;
    std::string organization;
    std::string id;
  };

  // Chunks that double in size never move, and need no more than a few pointers.
  static constexpr uint32_t kFirstChunk = 64;
  static constexpr size_t kChunks = 26;
  struct Place {
    size_t chunk;
    uint32_t offset;
  };
  static Place PlaceOf(uint32_t number) {
    const uint32_t shifted = number + kFirstChunk;
    const auto chunk = static_cast<size_t>(std::bit_width(shifted) - std::bit_width(kFirstChunk));
    return {chunk, shifted - (kFirstChunk << chunk)};
  }
  const Slot& At(uint32_t number) const {
    const Place place = PlaceOf(number);
    return chunks_[place.chunk].load()[place.offset];
  }
  Slot& At(uint32_t number) { return const_cast<Slot&>(std::as_const(*this).At(number)); }

  static uint64_t HashOf(std::string_view organization, std::string_view id) {
    // Callers choose names: a keyed hash.
    static const core::SipHash kHash = core::SipHash::Random();
    return kHash.Of(organization).low ^ std::rotl(kHash.Of(id).high, 32);
  }
  Slot* FindSlot(std::string_view organization, std::string_view id) const {
    return names_.Find(HashOf(organization, id), [organization, id](const Slot& slot) {
      return slot.organization == organization && slot.id == id;
    });
  }

  uint32_t used_ = 0;
  std::array<std::atomic<Slot*>, kChunks> chunks_{};
  core::PublishedTable<Slot> names_;
};

}  // namespace latchkey::keys
