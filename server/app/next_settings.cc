#include "server/app/next_settings.h"

#include <algorithm>

namespace latchkey::app {
namespace {

// The row has no better witness of its age than the database's clock, which may be set forward, and which was read
// before a COMMIT that may have waited for a standby. Neither is wrong by a day, and to remember too long costs little.
constexpr absl::Duration kSurelyOver = absl::Hours(24);

}  // namespace

keys::Settings NextSettings(const keys::Settings& old, absl::Duration bound, absl::Time now) {
  const bool older_leases_are_over = now >= old.changed_at + kSurelyOver;
  return {.bound = bound,
          .previous_bound = older_leases_are_over ? old.bound : std::max(old.bound, old.previous_bound),
          .changed_at = now};
}

}  // namespace latchkey::app
