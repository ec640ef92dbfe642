#pragma once

#include <atomic>
#include <cstdint>

namespace latchkey::client {

// Index of the calling thread's shard of a sharded counter, 0 .. kShards - 1: who counts in the place with its shard's
// number avoids false sharing. The first kOwn shards belong to one living thread each, from its first count to its end;
// threads beyond that many share the others, some to each. Of the process, not of one Verifier. Thread-safe.
class ThreadShard {
 public:
  static constexpr uint32_t kOwn = 32;
  static constexpr uint32_t kShared = 16;
  static constexpr uint32_t kShards = kOwn + kShared;

  // No lock, no allocation.
  static uint32_t Mine() {
    const uint32_t shard = mine;
    return shard != kNone ? shard : Take();
  }
  // Adds to a number that only threads of `shard`, the caller's, write. In a shard of its own that needs no locked
  // instruction, and the shard's next thread goes on where this one ended.
  template <typename T>
  static void Add(uint32_t shard, std::atomic<T>& number, T n) {
    if (shard < kOwn) {
      number.store(number.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    } else {
      number.fetch_add(n, std::memory_order_relaxed);
    }
  }

 private:
  struct ThreadEnd;
  static constexpr uint32_t kNone = ~uint32_t{0};
  static uint32_t Take();
  static uint32_t NextShared();

  // Without a destructor, so that reading it needs no guard.
  static inline constinit thread_local uint32_t mine = kNone;
};

}  // namespace latchkey::client
