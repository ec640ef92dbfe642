#include "client/src/identity/hazard_slots.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include "client/core/epochs.h"

namespace latchkey::client {
namespace {

// Why nothing is dropped under an answer: a slot is filled while its thread is pinned, and Reclaim runs when the pins
// of that time have ended (core::Epochs), so it sees every slot that shows the block. None can be filled then, since a
// block that was unlinked is not found again, and a copy of an identity takes a count before the slot it copies from is
// cleared.

// A thread seldom keeps more answers than this at a time; what it keeps beyond is counted.
constexpr size_t kSlotsPerThread = 32;
constexpr size_t kSweepAt = 64;

// The slots of one thread, on cache lines of their own. Never deleted: sweeps walk the list without a lock. The next
// thread takes over those of one that ended, where some may still be in use.
struct alignas(64) ThreadSlots {
  std::array<HazardSlot, kSlotsPerThread> slots;
  std::atomic<bool> taken{true};
  ThreadSlots* next = nullptr;
};

constinit std::atomic<ThreadSlots*> all_slots{nullptr};

// Without a destructor, so that reading it needs no guard.
struct ThreadState {
  ThreadSlots* slots = nullptr;
  size_t at = 0;
  bool ended = false;
};
constinit thread_local ThreadState thread_state;

struct ThreadEnd {
  ~ThreadEnd() {
    thread_state.ended = true;
    if (thread_state.slots != nullptr) thread_state.slots->taken.store(false, std::memory_order_release);
    thread_state.slots = nullptr;
  }
  void Register() {}
};
thread_local ThreadEnd thread_end;

ThreadSlots* TakeSlots() {
  for (ThreadSlots* slots = all_slots.load(); slots != nullptr; slots = slots->next) {
    if (!slots->taken.load(std::memory_order_relaxed) && !slots->taken.exchange(true)) return slots;
  }
  auto* slots = new ThreadSlots;
  slots->next = all_slots.load();
  while (!all_slots.compare_exchange_weak(slots->next, slots)) {
  }
  return slots;
}

[[gnu::noinline]] bool EnterThread() {
  if (thread_state.ended) return false;  // A destructor of another thread_local: such answers are counted.
  thread_end.Register();
  thread_state.slots = TakeSlots();
  return true;
}

[[gnu::noinline]] HazardSlot* OtherFreeSlot() {
  ThreadState& state = thread_state;
  for (size_t i = 0; i < kSlotsPerThread; ++i) {
    // Acquire: whoever cleared it is done with the block.
    if (state.slots->slots[i].block.load(std::memory_order_acquire) == nullptr) {
      state.at = i;
      return &state.slots->slots[i];
    }
  }
  return nullptr;
}

// Unlinked from the cache, and no reader is pinned any more; a slot may still show some of them.
struct RetiredBlocks {
  std::mutex mutex;
  std::vector<const IdentityBlock*> blocks;  // Guarded by mutex.
  size_t sweep_at = kSweepAt;                // Guarded by mutex.
};

RetiredBlocks& TheRetiredBlocks() {
  static RetiredBlocks& retired = *new RetiredBlocks;  // Leaked: threads may retire while statics are destroyed.
  return retired;
}

// Takes out what no slot shows.
std::vector<const IdentityBlock*> TakeUnprotected(std::vector<const IdentityBlock*>& blocks) {
  std::vector<const IdentityBlock*> in_use;
  for (const ThreadSlots* slots = all_slots.load(); slots != nullptr; slots = slots->next) {
    for (const HazardSlot& slot : slots->slots) {
      if (const IdentityBlock* block = slot.block.load(std::memory_order_acquire)) in_use.push_back(block);
    }
  }
  std::sort(in_use.begin(), in_use.end());
  const auto unprotected = std::partition(blocks.begin(), blocks.end(), [&in_use](const IdentityBlock* block) {
    return std::binary_search(in_use.begin(), in_use.end(), block);
  });
  std::vector<const IdentityBlock*> taken(unprotected, blocks.end());
  blocks.erase(unprotected, blocks.end());
  return taken;
}

void Reclaim(void* block) {
  RetiredBlocks& retired = TheRetiredBlocks();
  std::vector<const IdentityBlock*> unprotected;
  {
    const std::lock_guard lock(retired.mutex);
    retired.blocks.push_back(static_cast<const IdentityBlock*>(block));
    if (retired.blocks.size() < retired.sweep_at) return;
    unprotected = TakeUnprotected(retired.blocks);
    retired.sweep_at = kSweepAt + 2 * retired.blocks.size();
  }
  for (const IdentityBlock* one : unprotected) one->Unref();
}

}  // namespace

Identity ProtectIdentity(const IdentityBlock& block) {
  ThreadState& state = thread_state;
  if (state.slots != nullptr || EnterThread()) {
    HazardSlot* slot = &state.slots->slots[state.at];
    if (slot->block.load(std::memory_order_acquire) != nullptr) slot = OtherFreeSlot();
    if (slot != nullptr) {
      slot->block.store(&block, std::memory_order_release);
      return IdentityRefs::Protected(&block, slot);
    }
  }
  block.Ref();
  return IdentityRefs::Counted(&block);
}

void RetireBlock(IdentityBlock* block) { core::Epochs::RetireRaw(block, Reclaim); }

}  // namespace latchkey::client
