#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/core/decision.h"
#include "server/model/key_store.h"

namespace latchkey::keys {

// Counts uses of keys in memory and writes them in batches: hourly counts per key, version and decision, and the last
// allowed use to the minute. Never a write per request; what is counted and not written yet is lost with the process
// (at most a flush interval's), and a batch whose commit is in doubt (OUTCOME_UNKNOWN) may count twice; reports count
// exactly once. Thread-safe.
class UsageCounter {
 public:
  struct Options {
    // Distinct (key, version, decision, hour) that wait at most; beyond it new ones are dropped and counted as such, so
    // that a database that is away costs no memory without end.
    size_t capacity = 1'000'000;
    size_t batch = 5'000;             // Rows in one transaction at most, but for one report that has more by itself.
    size_t waiting_reports = 10'000;  // Reports that wait at most; beyond it WORKERS_BUSY. Likewise
    size_t waiting_rows = 200'000;    // their rows, a quarter of them one reporter's.
  };
  UsageCounter(storage::KeyStore& store, Options options);
  // Does not flush: what waits is lost, waiting reports are told SHUTTING_DOWN.
  ~UsageCounter();
  UsageCounter(const UsageCounter&) = delete;
  UsageCounter& operator=(const UsageCounter&) = delete;

  // One decision about a key whose secret was right; `at` by the database's clock. About 50 ns, no allocation for a key
  // that is counted already. A kid that is none (core::IsKeyId) is not counted.
  void Count(std::string_view kid, int32_t version, core::Decision decision, absl::Time at);

  // A client's report, written as it is and whole. `done` is called once, at once (WORKERS_BUSY) or by Flush, after the
  // report is durable or could not be: then the client retries it. `done` must not call Flush.
  void Report(storage::UseReport report, std::function<void(absl::Status)> done);

  // Writes everything that waits, each batch in one transaction; the first error. Counts that can't be written now wait
  // on, reports that can't are told so. A row that can't be written at all (INTERNAL) is found, logged and dropped.
  // Blocks; one at a time.
  absl::Status Flush();
  // True if reports wait: flush soon.
  bool reports_waiting() const;
  // Uses that were not counted since the start, for lack of room.
  int64_t dropped() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace latchkey::keys
