#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace latchkey::base {

// When to try again what found a queue full (WORKERS_BUSY).
inline constexpr absl::Duration kBusyRetryAfter = absl::Milliseconds(250);

// Where work that may block is handed over. Thread-safe.
class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  // Called exactly once. OK: its turn, on a worker. Else why it will not run, WORKERS_BUSY or SHUTTING_DOWN; on any
  // thread, also on the caller's before Run returns, so it must be short then.
  using Job = std::function<void(const absl::Status& turn)>;
  // `share`: on whose behalf; places and turns are shared out by it (FairQueue).
  virtual void Run(const std::string& share, Job job) = 0;
};

}  // namespace latchkey::base
