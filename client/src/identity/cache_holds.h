#pragma once

#include <atomic>

#include "client/src/identity/identity_block.h"

namespace latchkey::client {

// How an answer keeps the identity it was given from the cache, after the pin of its look-up has ended, without a count
// that threads would fight over: it publishes the block in a place of its own (hazard pointers; Michael, 2004). Who
// takes a block out of the cache drops the cache's count only when no hold shows it.
struct Hold {
  std::atomic<const IdentityBlock*> block{nullptr};
};

// A reference to `block`, which the caller found in the cache and still has pinned (core::Epochs). Uses one of the
// calling thread's few holds, or a count if all are in use. Allocates only at a thread's first use.
Identity HoldIdentity(const IdentityBlock& block);

// Any thread; ends the reference.
inline void ReturnHold(Hold* hold) { hold->block.store(nullptr, std::memory_order_release); }

// Gives up the cache's count of a block that nobody can find any more, once every reader that is pinned now has
// unpinned and every hold on it was returned. Never waits. Thread-safe.
void RetireBlock(IdentityBlock* block);

}  // namespace latchkey::client
