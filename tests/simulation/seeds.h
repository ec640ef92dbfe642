#pragma once

#include <cstdint>

#include "tests/simulation/switches.h"

namespace latchkey::simulation {

// A schedule that a mutant does not survive.
struct Killer {
  Mutant mutant;
  uint64_t seed;
};

// Found by `simulation_tests --search`, the rare ones by --search=MUTANT. A change of what a schedule does (an event
// more, a pause less) gives the seeds other schedules: then search again.
inline constexpr Killer kKillers[] = {
    {Mutant::kServerLeaseAnchoredAtReceive, 13},   {Mutant::kServerPollsALaggingStandby, 3},
    {Mutant::kServerFullPageExtends, 11},          {Mutant::kServerZeroRowRenewalAccepted, 9},
    {Mutant::kServerStreamsKeptOverAResync, 24},   {Mutant::kServerLeaseLoadedLate, 62},
    {Mutant::kServerClockReadBeforeThePause, 73},  {Mutant::kServerIgnoresAFailover, 5201},
    {Mutant::kServerPongBeforeItsRows, 347},       {Mutant::kServerLendsUnjudged, 417},
    {Mutant::kServerCountsUnacknowledged, 748},    {Mutant::kServerBoundToldByNoHello, 47},
    {Mutant::kClientPongAnchoredAtReceive, 210},   {Mutant::kClientLeaseLoadedLate, 220},
    {Mutant::kClientClockReadBeforeThePause, 128}, {Mutant::kClientStoresWithoutARevisionCheck, 22},
    {Mutant::kClientBelievesLateAnswers, 7},       {Mutant::kClientNeedsNoHello, 1},
    {Mutant::kClientKeepsAllWithoutResuming, 24},  {Mutant::kClientTrustsOtherServersAtOnce, 1364},
};

}  // namespace latchkey::simulation
