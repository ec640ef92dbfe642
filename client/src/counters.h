#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace latchkey::client {

// A count that many threads raise: each in a cache line that it shares with few others. About 5 ns. Thread-safe.
class Counter {
 public:
  void Add(int64_t n = 1) { lines_[Line()].value.fetch_add(n, std::memory_order_relaxed); }
  int64_t value() const {
    int64_t sum = 0;
    for (const Padded& line : lines_) sum += line.value.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  static constexpr size_t kLines = 16;
  struct alignas(64) Padded {
    std::atomic<int64_t> value{0};
  };
  static size_t Line() {
    static std::atomic<size_t> next{0};
    thread_local const size_t mine = next.fetch_add(1, std::memory_order_relaxed) % kLines;
    return mine;
  }
  std::array<Padded, kLines> lines_;
};

}  // namespace latchkey::client
