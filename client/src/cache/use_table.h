#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "client/core/decision.h"
#include "client/src/cache/thread_shard.h"

namespace latchkey::client {

// Lock-free hash table of use counts per (key, secret version, decision). Counting allocates nothing: the table is
// fixed and its places are taken once. A thread counts in its shard's part of it (ThreadShard), which no other core
// touches, as long as there is room, and from then on in a part for all. Thread-safe, but for Drain.
class UseTable {
 public:
  // Room for about `keys` in the part for all, 4,096 .. 1,048,576, rounded up to a power of two, and for as many, at
  // most 16,384, in each shard's: 32 B each. Memory is taken by the page of 4 KiB, when a use is first counted there.
  explicit UseTable(size_t keys);

  // A few nanoseconds. False: there is no room. `kid` has 16 characters.
  bool Count(std::string_view kid, int32_t version, core::Decision decision);

  // Hands out everything that was counted, and empties the table. What several threads have counted of a key is one
  // number, unless there is no room to add it up. What is counted at the same time may be lost or be counted for
  // another key: nobody should count any more.
  void Drain(const std::function<void(std::string_view kid, int32_t version, core::Decision, int64_t count)>& take);

  // Of the pages taken, which are kept. Any thread.
  size_t memory_bytes() const;

 private:
  struct alignas(32) Slot {
    std::atomic<uint64_t> tag;  // version·16 + decision + 1; 0 = free; kTaking while the key id is written.
    std::atomic<uint64_t> kid[2];
    std::atomic<uint64_t> count;
  };
  static_assert(sizeof(Slot) == 32);
  struct Key {
    uint64_t tag;
    uint64_t kid[2];
  };
  struct Part {
    size_t first;  // Of its slots.
    size_t mask;
    size_t probes;
    int shift;  // Of the hash.
  };
  struct Unmap {
    size_t bytes;
    void operator()(Slot* slots) const;
  };

  Part ShardPart(uint32_t shard) const {
    return {.first = shard * (shard_mask_ + 1), .mask = shard_mask_, .probes = kShardProbes, .shift = 0};
  }
  // By other bits of the hash: the keys that crowd in one place of the shards' parts do not crowd here too.
  Part CommonPart() const {
    return {.first = ThreadShard::kShards * (shard_mask_ + 1), .mask = mask_, .probes = kCommonProbes, .shift = 32};
  }
  bool Add(Part part, uint32_t shard, const Key& key, uint64_t count);
  template <typename Take>
  void Empty(size_t first, size_t last, const Take& take);

  static constexpr size_t kShardProbes = 8;
  static constexpr size_t kCommonProbes = 32;

  const size_t mask_;                           // Of the common part.
  const size_t shard_mask_;                     // Of each shard's.
  const size_t size_;                           // Of all of them.
  const std::unique_ptr<Slot[], Unmap> slots_;  // The shards' parts, then the common one.
  const std::unique_ptr<std::atomic<bool>[]> page_is_taken_;
};

}  // namespace latchkey::client
