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
    {Mutant::kServerLeaseAnchoredAtReceive, 4},    {Mutant::kServerPollsALaggingStandby, 11},
    {Mutant::kServerFullPageExtends, 11},          {Mutant::kServerZeroRowRenewalAccepted, 20},
    {Mutant::kServerStreamsKeptOverAResync, 249},  {Mutant::kServerLeaseLoadedLate, 153},
    {Mutant::kServerClockReadBeforeThePause, 94},  {Mutant::kServerIgnoresAFailover, 17139},
    {Mutant::kClientPongAnchoredAtReceive, 198},   {Mutant::kClientLeaseLoadedLate, 27},
    {Mutant::kClientClockReadBeforeThePause, 170}, {Mutant::kClientStoresWithoutARevisionCheck, 13},
    {Mutant::kClientBelievesLateAnswers, 2},       {Mutant::kClientNeedsNoHello, 8},
    {Mutant::kClientKeepsAllWithoutResuming, 71},  {Mutant::kClientTrustsOtherServersAtOnce, 8325},
};

}  // namespace latchkey::simulation
