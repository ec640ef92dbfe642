#pragma once

#include <string>
#include <vector>

#include "tests/simulation/switches.h"

namespace latchkey::simulation {

// A schedule in which a failover loses commits at the one moment that matters: random ones meet it too seldom. Two
// servers, of which one stays in the lost history until its lease is over, and a client that watches the other; the
// real classes, driven by hand.
struct FailoverSchedule {
  std::string name;
  // Those that do not survive it.
  std::vector<Mutant> kills;
  // True if the client lets in, past the bound, what the present history denies.
  bool (*accepts_late)();
};

const std::vector<FailoverSchedule>& FailoverSchedules();

}  // namespace latchkey::simulation
