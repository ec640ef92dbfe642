#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "client/src/cache/thread_shard.h"

namespace latchkey::client {

// Sharded counter: many threads raise it, each in a cache line of its own (ThreadShard). About 1 ns. Thread-safe.
class Counter {
 public:
  void Add(int64_t n = 1) {
    const uint32_t shard = ThreadShard::Mine();
    ThreadShard::Add(shard, lines_[shard].value, n);
  }
  int64_t value() const {
    int64_t sum = 0;
    for (const Padded& line : lines_) sum += line.value.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  struct alignas(64) Padded {
    std::atomic<int64_t> value{0};
  };
  std::array<Padded, ThreadShard::kShards> lines_;
};

}  // namespace latchkey::client
