#pragma once

#include <algorithm>
#include <mutex>

#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/model/records.h"

namespace latchkey::keys {

// The staleness bound L: how old may be what an answer is made of. Thread-safe; its lock is short and never held over
// anything else.
class StalenessBound {
 public:
  explicit StalenessBound(const base::Clock& clock) : clock_(clock) {}

  // What the database's settings say, read just now.
  void Note(const Settings& settings);

  // L, as the database has it; 5 s before the first Note.
  absl::Duration bound() const;
  // What is promised now: no less than an earlier L as long as leases of that length may be out, which is for its time
  // and the clocks' error from when this server first saw the settings that replaced it, the first ones included. By
  // CLOCK_BOOTTIME alone: neither a COMMIT that waits nor the database's clock can shorten it.
  absl::Duration promised() const;
  // min(1 s, L / 5).
  absl::Duration renewal_interval() const { return std::min(absl::Seconds(1), bound() / 5); }

 private:
  const base::Clock& clock_;
  mutable std::mutex mutex_;
  bool known_ = false;
  Settings settings_;
  absl::Duration former_;  // Leases of it may be out until then.
  base::BootTime former_until_;
};

}  // namespace latchkey::keys
