#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "client/core/decision.h"

namespace latchkey::client {

// Counts uses per (key, secret version, decision) without lock or allocation: a fixed table whose places are taken
// once. Thread-safe, but for Drain.
class UseTable {
 public:
  // Room for about `keys`, 4,096 .. 1,048,576: 32 B each, rounded up to a power of two.
  explicit UseTable(size_t keys);

  // About 10 ns. False: there is no room. `kid` has 16 characters.
  bool Count(std::string_view kid, int32_t version, core::Decision decision);

  // Hands out everything that was counted, and empties the table. What is counted at the same time may be lost or be
  // counted for another key: nobody should count any more.
  void Drain(const std::function<void(std::string_view kid, int32_t version, core::Decision, int64_t count)>& take);

 private:
  struct alignas(32) Slot {
    std::atomic<uint64_t> tag;  // version·16 + decision + 1; 0 = free; kTaking while the key id is written.
    std::atomic<uint64_t> kid[2];
    std::atomic<uint32_t> count;
  };
  static_assert(sizeof(Slot) == 32);
  struct Free {
    void operator()(Slot* slots) const;
  };
  static constexpr uint64_t kTaking = ~uint64_t{0};

  const size_t mask_;
  const std::unique_ptr<Slot[], Free> slots_;
};

}  // namespace latchkey::client
