#include "client/src/cache/thread_shard.h"

#include <array>

namespace latchkey::client {
namespace {

// Constant-initialised and never destroyed: threads may count before main and after it.
constinit std::array<std::atomic<bool>, ThreadShard::kOwn> taken{};
constinit std::atomic<uint32_t> sharers{0};

}  // namespace

struct ThreadShard::ThreadEnd {
  ~ThreadEnd() {
    const uint32_t shard = mine;
    mine = NextShared();  // Destructors that run after this one may still count.
    taken[shard].store(false, std::memory_order_release);
  }
};

uint32_t ThreadShard::NextShared() { return kOwn + sharers.fetch_add(1, std::memory_order_relaxed) % kShared; }

[[gnu::noinline]] uint32_t ThreadShard::Take() {
  for (uint32_t shard = 0; shard < kOwn; ++shard) {
    // Acquire: the numbers of the shard are as its last thread left them.
    if (taken[shard].load(std::memory_order_relaxed) || taken[shard].exchange(true, std::memory_order_acquire))
      continue;
    mine = shard;
    [[maybe_unused]] thread_local const ThreadEnd thread_end;
    return shard;
  }
  return mine = NextShared();
}

}  // namespace latchkey::client
