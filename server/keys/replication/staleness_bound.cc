#include "server/keys/replication/staleness_bound.h"

namespace latchkey::keys {

void StalenessBound::Note(const Settings& settings) {
  // Not when the settings were asked for: leases of the bound before may have been granted between that and the
  // snapshot that showed these.
  const base::BootTime now = clock_.BootNow();
  const std::lock_guard lock(mutex_);
  if (known_ && settings == settings_) return;
  // What was seen here counts beside what the row says: a row of another history knows nothing of it.
  const absl::Duration former = known_ ? std::max(settings_.bound, settings.previous_bound) : settings.previous_bound;
  former_ = now < former_until_ ? std::max(former_, former) : former;
  former_until_ = std::max(former_until_, now + core::WithClockError(former));
  settings_ = settings;
  known_ = true;
}

absl::Duration StalenessBound::bound() const {
  const std::lock_guard lock(mutex_);
  return settings_.bound;
}

absl::Duration StalenessBound::promised() const {
  const std::lock_guard lock(mutex_);
  const bool former_leases_are_over = clock_.BootNow() >= former_until_;
  return former_leases_are_over ? settings_.bound : std::max(settings_.bound, former_);
}

}  // namespace latchkey::keys
