#pragma once

#include "client/core/clock.h"

namespace latchkey::base {

// Both sides of a lease count on the same clock (client/core/clock.h).
using core::BootTime;
using core::Clock;
using core::SystemClock;

}  // namespace latchkey::base
