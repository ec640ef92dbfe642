#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/src/cache/counters.h"
#include "client/src/cache/use_table.h"
#include "client/src/event_loop.h"
#include "client/src/identity/identity_block.h"
#include "latchkey/v1/key_verify.pb.h"
#include "latchkey/verifier.h"

namespace latchkey::client {

// Usage reports: counts what was answered from the cache and tells a server each `interval`, at most 1,000 keys a
// message, one message at a time. A message that could not be delivered is repeated with the same request_id, so that
// it counts once: servers know it for a day (ReportUsageRequest.request_id), and after 12 hours it is dropped. While
// 100 messages wait, no more are made, and uses are added up in the table, whose size is fixed; what finds no room
// there is dropped. Thread-safe.
class UsageReporter {
 public:
  // Sends one report; the callback on any thread, once.
  using Send =
      std::function<void(const v1::ReportUsageRequest&, absl::Duration timeout, std::function<void(absl::Status)>)>;

  UsageReporter(EventLoop& loop, size_t keys, absl::Duration interval, Send send);
  ~UsageReporter();

  // No lock, no allocation. A few nanoseconds.
  void Count(const Identity& identity, Decision decision) {
    const IdentityBlock* block = IdentityRefs::BlockOf(identity);
    if (block == nullptr) return;
    UseTable& table = *active_.load(std::memory_order_acquire);
    if (!table.Count({block->kid.data(), block->kid.size()}, block->secret_version,
                     static_cast<core::Decision>(decision))) {
      dropped_.Add();
    }
  }

  // The last try: reports what is left and waits for it, at most `patience`. Nobody counts any more. Not on the loop.
  void Finish(absl::Duration patience);

  int64_t reported() const;
  int64_t dropped() const;
  // Of the tables.
  size_t memory_bytes() const { return tables_[0].memory_bytes() + tables_[1].memory_bytes(); }

 private:
  struct State;

  UseTable tables_[2];
  std::atomic<UseTable*> active_;
  Counter dropped_;
  const std::shared_ptr<State> state_;  // Shared with what is in the loop and on the wire.
};

}  // namespace latchkey::client
