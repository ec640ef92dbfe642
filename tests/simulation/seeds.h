#pragma once

#include <cstdint>

#include "tests/simulation/switches.h"

namespace latchkey::simulation {

// A schedule that a mutant does not survive.
struct Killer {
  Mutant mutant;
  uint64_t seed;
};

// Found by `simulation_tests --search`, the rare ones by --search=MUTANT; those of a failover have schedules of their
// own (failover_schedules.h). A change of what a schedule does (an event more, a pause less) gives the seeds other
// schedules: then search again.
inline constexpr Killer kKillers[] = {
    {Mutant::kServerLeaseAnchoredAtReceive, 28},
    {Mutant::kServerPollsALaggingStandby, 1},
    {Mutant::kServerFullPageExtends, 8},
    {Mutant::kServerZeroRowRenewalAccepted, 3},
    {Mutant::kServerStreamsKeptOverAResync, 49},
    {Mutant::kServerLeaseLoadedLate, 45},
    {Mutant::kServerClockReadBeforeThePause, 201},
    {Mutant::kServerPongBeforeItsRows, 93},
    {Mutant::kServerLendsUnjudged, 1798},
    {Mutant::kServerCountsUnacknowledged, 298},
    {Mutant::kServerBoundToldByNoHello, 9},
    {Mutant::kClientPongAnchoredAtReceive, 42},
    {Mutant::kClientLeaseLoadedLate, 126},
    {Mutant::kClientClockReadBeforeThePause, 182},
    {Mutant::kClientStoresWithoutARevisionCheck, 7},
    {Mutant::kClientBelievesLateAnswers, 41},
    {Mutant::kClientNeedsNoHello, 1},
    {Mutant::kClientKeepsAllWithoutResuming, 8},
};

}  // namespace latchkey::simulation
