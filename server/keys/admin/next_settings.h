#pragma once

#include "absl/time/time.h"
#include "server/model/records.h"

namespace latchkey::keys {

// `old` with another L, set at `now` (the database's clock in the transaction that writes it). While leases of an
// earlier, longer L may still be out there, that one stays the previous one, however often L is changed: for a day, far
// longer than they last, so that it does not matter how long the COMMIT took. From when the previous one counts is each
// server's to see (LogFollower::promised_bound).
Settings NextSettings(const Settings& old, absl::Duration bound, absl::Time now);

}  // namespace latchkey::keys
