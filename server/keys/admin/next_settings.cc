#include "server/keys/admin/next_settings.h"

#include <algorithm>

namespace latchkey::keys {
namespace {

// The row has no better witness of its age than the database's clock, which may be set forward, and which was read
// before a COMMIT that may have waited for a standby. Neither is wrong by a day, and to remember too long costs little.
constexpr absl::Duration kSurelyOver = absl::Hours(24);

}  // namespace

Settings NextSettings(const Settings& old, absl::Duration bound, absl::Time now) {
  const bool older_leases_are_over = now >= old.changed_at + kSurelyOver;
  Settings next = old;
  next.bound = bound;
  next.previous_bound = older_leases_are_over ? old.bound : std::max(old.bound, old.previous_bound);
  next.changed_at = now;
  return next;
}

}  // namespace latchkey::keys
