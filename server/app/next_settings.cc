#include "server/app/next_settings.h"

#include <algorithm>

#include "client/core/clock.h"

namespace latchkey::app {
namespace {

// A renewal may read the old L until the change commits, which is after `now`. The transaction's statements have 4 s
// each and there are few: by this time it has happened, or it never will.
constexpr absl::Duration kLongestCommit = absl::Seconds(15);

}  // namespace

keys::Settings NextSettings(const keys::Settings& old, absl::Duration bound, absl::Time now) {
  const bool older_leases_are_over = now >= old.changed_at + core::WithClockError(old.previous_bound);
  return {.bound = bound,
          .previous_bound = older_leases_are_over ? old.bound : std::max(old.bound, old.previous_bound),
          .changed_at = now + kLongestCommit};
}

}  // namespace latchkey::app
