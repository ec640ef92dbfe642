#pragma once

#include <atomic>

#include "client/src/identity/identity_block.h"

namespace latchkey::client {

// Hazard pointer (Michael, 2004): keeps an identity block alive for one answer, after the pin of its look-up has ended,
// without a reference count that threads would share and write. The answer's thread publishes the block here; whoever
// takes it out of the cache drops the cache's count only when no slot shows it.
struct HazardSlot {
  std::atomic<const IdentityBlock*> block{nullptr};
};

// A reference to `block`, which the caller found in the cache and still has pinned (core::Epochs). Uses one of the
// calling thread's few slots, or a count if all are in use. Allocates only at a thread's first use.
Identity ProtectIdentity(const IdentityBlock& block);

// Any thread; ends the reference.
inline void ClearSlot(HazardSlot* slot) { slot->block.store(nullptr, std::memory_order_release); }

// Gives up the cache's count of a block that nobody can find any more, once every reader that is pinned now has
// unpinned and every slot that shows it was cleared. Never waits. Thread-safe.
void RetireBlock(IdentityBlock* block);

}  // namespace latchkey::client
