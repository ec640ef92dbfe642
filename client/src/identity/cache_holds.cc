#include "client/src/identity/cache_holds.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include "client/core/epochs.h"

namespace latchkey::client {
namespace {

// Why nothing is dropped under an answer: a hold is stored while its thread is pinned, and Bury runs when the pins of
// that time have ended (core::Epochs), so it sees every hold on the block. None can be added then, since a block that
// was unlinked is not found again, and a copy of an identity takes a count before the hold it copies from is returned.

// A thread seldom keeps more answers than this at a time; what it keeps beyond is counted.
constexpr size_t kHolds = 32;
constexpr size_t kSweepAt = 64;

// The holds of one thread, on cache lines of their own. Never deleted: sweeps walk the list without a lock. The next
// thread takes over those of one that ended, where some may still be in use.
struct alignas(64) Holds {
  std::array<Hold, kHolds> holds;
  std::atomic<bool> taken{true};
  Holds* next = nullptr;
};

constinit std::atomic<Holds*> all_holds{nullptr};

// Without a destructor, so that reading it needs no guard.
struct ThreadState {
  Holds* holds = nullptr;
  size_t at = 0;
  bool ended = false;
};
constinit thread_local ThreadState thread_state;

struct ThreadEnd {
  ~ThreadEnd() {
    thread_state.ended = true;
    if (thread_state.holds != nullptr) thread_state.holds->taken.store(false, std::memory_order_release);
    thread_state.holds = nullptr;
  }
  void Register() {}
};
thread_local ThreadEnd thread_end;

Holds* TakeHolds() {
  for (Holds* holds = all_holds.load(); holds != nullptr; holds = holds->next) {
    if (!holds->taken.load(std::memory_order_relaxed) && !holds->taken.exchange(true)) return holds;
  }
  auto* holds = new Holds;
  holds->next = all_holds.load();
  while (!all_holds.compare_exchange_weak(holds->next, holds)) {
  }
  return holds;
}

[[gnu::noinline]] bool EnterThread() {
  if (thread_state.ended) return false;  // A destructor of another thread_local: such answers are counted.
  thread_end.Register();
  thread_state.holds = TakeHolds();
  return true;
}

[[gnu::noinline]] Hold* OtherFreeHold() {
  ThreadState& state = thread_state;
  for (size_t i = 0; i < kHolds; ++i) {
    // Acquire: whoever returned it is done with the block.
    if (state.holds->holds[i].block.load(std::memory_order_acquire) == nullptr) {
      state.at = i;
      return &state.holds->holds[i];
    }
  }
  return nullptr;
}

struct Graveyard {
  std::mutex mutex;
  std::vector<const IdentityBlock*> blocks;  // Guarded by mutex.
  size_t sweep_at = kSweepAt;                // Guarded by mutex.
};

Graveyard& TheGraveyard() {
  static Graveyard& graveyard = *new Graveyard;  // Leaked: threads may retire while statics are destroyed.
  return graveyard;
}

// Takes out what no hold shows.
std::vector<const IdentityBlock*> TakeUnheld(std::vector<const IdentityBlock*>& blocks) {
  std::vector<const IdentityBlock*> held;
  for (const Holds* holds = all_holds.load(); holds != nullptr; holds = holds->next) {
    for (const Hold& hold : holds->holds) {
      if (const IdentityBlock* block = hold.block.load(std::memory_order_acquire)) held.push_back(block);
    }
  }
  std::sort(held.begin(), held.end());
  const auto unheld = std::partition(blocks.begin(), blocks.end(), [&held](const IdentityBlock* block) {
    return std::binary_search(held.begin(), held.end(), block);
  });
  std::vector<const IdentityBlock*> taken(unheld, blocks.end());
  blocks.erase(unheld, blocks.end());
  return taken;
}

void Bury(void* block) {
  Graveyard& graveyard = TheGraveyard();
  std::vector<const IdentityBlock*> unheld;
  {
    const std::lock_guard lock(graveyard.mutex);
    graveyard.blocks.push_back(static_cast<const IdentityBlock*>(block));
    if (graveyard.blocks.size() < graveyard.sweep_at) return;
    unheld = TakeUnheld(graveyard.blocks);
    graveyard.sweep_at = kSweepAt + 2 * graveyard.blocks.size();
  }
  for (const IdentityBlock* one : unheld) one->Unref();
}

}  // namespace

Identity HoldIdentity(const IdentityBlock& block) {
  ThreadState& state = thread_state;
  if (state.holds != nullptr || EnterThread()) {
    Hold* hold = &state.holds->holds[state.at];
    if (hold->block.load(std::memory_order_acquire) != nullptr) hold = OtherFreeHold();
    if (hold != nullptr) {
      hold->block.store(&block, std::memory_order_release);
      return IdentityRefs::Held(&block, hold);
    }
  }
  block.Ref();
  return IdentityRefs::Counted(&block);
}

void RetireBlock(IdentityBlock* block) { core::Epochs::RetireRaw(block, Bury); }

}  // namespace latchkey::client
