#pragma once

#include <array>
#include <string_view>

// What tests/simulation/instrument.py writes into its copies of the sources. The product has none of it.
namespace latchkey::simulation {

// A rule of the protocol, left out.
enum class Mutant {
  kNone,
  // Server.
  kServerLeaseAnchoredAtReceive,
  kServerPollsALaggingStandby,
  kServerFullPageExtends,
  kServerZeroRowRenewalAccepted,
  kServerStreamsKeptOverAResync,
  kServerLeaseLoadedLate,
  kServerClockReadBeforeThePause,
  kServerIgnoresAFailover,
  kServerPongBeforeItsRows,
  kServerLendsUnjudged,
  kServerCountsUnacknowledged,
  kServerBoundToldByNoHello,
  kServerResumesAcrossAFailover,
  kServerDeliversAcrossAFailover,
  // Client.
  kClientPongAnchoredAtReceive,
  kClientLeaseLoadedLate,
  kClientClockReadBeforeThePause,
  kClientStoresWithoutARevisionCheck,
  kClientBelievesLateAnswers,
  kClientNeedsNoHello,
  kClientKeepsAllWithoutResuming,
  kClientTrustsOtherServersAtOnce,
  kClientKeepsAcrossHistories,
  kClientStoresOtherHistories,
  kClientLentByAnotherHistory,
};

inline constexpr std::array kMutants = {
    Mutant::kServerLeaseAnchoredAtReceive,  Mutant::kServerPollsALaggingStandby,
    Mutant::kServerFullPageExtends,         Mutant::kServerZeroRowRenewalAccepted,
    Mutant::kServerStreamsKeptOverAResync,  Mutant::kServerLeaseLoadedLate,
    Mutant::kServerClockReadBeforeThePause, Mutant::kServerIgnoresAFailover,
    Mutant::kServerPongBeforeItsRows,       Mutant::kServerLendsUnjudged,
    Mutant::kServerCountsUnacknowledged,    Mutant::kServerBoundToldByNoHello,
    Mutant::kClientPongAnchoredAtReceive,   Mutant::kClientLeaseLoadedLate,
    Mutant::kClientClockReadBeforeThePause, Mutant::kClientStoresWithoutARevisionCheck,
    Mutant::kClientBelievesLateAnswers,     Mutant::kClientNeedsNoHello,
    Mutant::kClientKeepsAllWithoutResuming, Mutant::kClientTrustsOtherServersAtOnce,
    Mutant::kServerResumesAcrossAFailover,  Mutant::kServerDeliversAcrossAFailover,
    Mutant::kClientKeepsAcrossHistories,    Mutant::kClientStoresOtherHistories,
    Mutant::kClientLentByAnotherHistory,
};

std::string_view NameOf(Mutant mutant);

// Which one is on; one at a time.
extern Mutant active_mutant;
inline bool On(Mutant mutant) { return active_mutant == mutant; }

// Between two loads: a thread may be descheduled here for as long as it takes.
void Pause();

}  // namespace latchkey::simulation
