#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "absl/synchronization/mutex.h"
#include "server/base/log.h"
#include "tests/simulation/failover_schedules.h"
#include "tests/simulation/schedule.h"
#include "tests/simulation/seeds.h"
#include "tests/simulation/switches.h"

namespace latchkey::simulation {
namespace {

uint64_t schedules = 1000;

Outcome RunWith(Mutant mutant, uint64_t seed) {
  active_mutant = mutant;
  const Outcome outcome = RunSchedule(seed);
  active_mutant = Mutant::kNone;
  return outcome;
}

TEST(Protocol, NoScheduleAcceptsARevokedKeyPastTheBound) {
  Outcome all;
  for (uint64_t seed = 1; seed <= schedules; ++seed) {
    const Outcome outcome = RunWith(Mutant::kNone, seed);
    EXPECT_EQ(outcome.late_accepts, 0) << "seed " << seed << ": " << outcome.first_late;
    all.Add(outcome);
  }
  std::printf(
      "%lu schedules: %ld accepts (%ld from caches), %ld denials, %ld undecided, %ld leases lent, %ld waits for all; "
      "%ld late; the latest %.3f s after its revocation\n",
      schedules, all.accepts, all.cache_hits, all.denials, all.undecided, all.lends, all.certainties, all.late_accepts,
      all.worst);
  // Schedules in which nothing happens would pass as well.
  EXPECT_GT(all.cache_hits, static_cast<int64_t>(50 * schedules));
  EXPECT_GT(all.denials, static_cast<int64_t>(10 * schedules));
  EXPECT_GT(all.undecided, static_cast<int64_t>(schedules));
  EXPECT_GT(all.lends, static_cast<int64_t>(10 * schedules));
  EXPECT_GT(all.certainties, static_cast<int64_t>(schedules / 2));
  EXPECT_GT(all.worst, 4.5) << "no schedule comes near the bound";
}

TEST(Protocol, WhatAFailoverLostOrTheNewPrimaryRevokedIsNotAcceptedPastTheBound) {
  for (const FailoverSchedule& schedule : FailoverSchedules()) EXPECT_FALSE(schedule.accepts_late()) << schedule.name;
}

TEST(Protocol, NoMutantSurvivesItsSchedule) {
  std::set<Mutant> killed;
  for (const FailoverSchedule& schedule : FailoverSchedules()) {
    for (const Mutant mutant : schedule.kills) {
      active_mutant = mutant;
      EXPECT_TRUE(schedule.accepts_late()) << NameOf(mutant) << " survives: " << schedule.name;
      active_mutant = Mutant::kNone;
      killed.insert(mutant);
    }
  }
  for (const Killer& killer : kKillers) {
    const Outcome outcome = RunWith(killer.mutant, killer.seed);
    EXPECT_GT(outcome.late_accepts, 0) << NameOf(killer.mutant) << " survives seed " << killer.seed
                                       << "; search for another with simulation_tests --search";
    EXPECT_EQ(RunWith(Mutant::kNone, killer.seed).late_accepts, 0) << "seed " << killer.seed;
    killed.insert(killer.mutant);
    if (outcome.late_accepts > 0) {
      std::printf("killed: %s (seed %lu: %s)\n", std::string(NameOf(killer.mutant)).c_str(), killer.seed,
                  outcome.first_late.c_str());
    }
  }
  for (const Mutant mutant : kMutants) EXPECT_TRUE(killed.contains(mutant)) << NameOf(mutant) << " has no schedule";
}

TEST(Protocol, ASeedAlwaysGivesTheSameSchedule) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome once = RunSchedule(seed);
    const Outcome again = RunSchedule(seed);
    EXPECT_EQ(once.accepts, again.accepts) << seed;
    EXPECT_EQ(once.denials, again.denials) << seed;
    EXPECT_EQ(once.worst, again.worst) << seed;
  }
}

// `only`: the number of one mutant; 0 = all.
int Search(int only, uint64_t from) {
  std::set<Mutant> directed;
  for (const FailoverSchedule& schedule : FailoverSchedules()) {
    directed.insert(schedule.kills.begin(), schedule.kills.end());
  }
  for (const Mutant mutant : kMutants) {
    if (only == 0 && directed.contains(mutant)) continue;
    if (only != 0 && static_cast<int>(mutant) != only) continue;
    uint64_t seed = from;
    Outcome outcome;
    for (; seed < from + (only == 0 ? 5'000 : 100'000) && outcome.late_accepts == 0; ++seed)
      outcome = RunWith(mutant, seed);
    std::printf("%2d %s: seed %lu: %s\n", static_cast<int>(mutant), std::string(NameOf(mutant)).c_str(), seed - 1,
                outcome.late_accepts > 0 ? outcome.first_late.c_str() : "not killed");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace latchkey::simulation

// Beside gtest's: --schedules=N; --search prints a killing seed for each mutant that has no directed schedule,
// --search=MUTANT[,SEED] for one of all, looked for longer.
int main(int argc, char** argv) {
  // Fibers hold a mutex over a wait, all on one thread: what Abseil would take for a deadlock is another fiber.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Databases are lost and found all the time.
  latchkey::log::SetLevel(latchkey::log::Level::kError);
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--schedules=", 12) == 0) {
      latchkey::simulation::schedules = std::strtoull(argv[i] + 12, nullptr, 10);
    } else if (std::strcmp(argv[i], "--search") == 0) {
      return latchkey::simulation::Search(0, 1);
    } else if (std::strncmp(argv[i], "--search=", 9) == 0) {
      char* rest = argv[i] + 9;
      const int only = static_cast<int>(std::strtol(rest, &rest, 10));
      return latchkey::simulation::Search(only, *rest == ',' ? std::strtoull(rest + 1, nullptr, 10) : 1);
    } else {
      std::fprintf(stderr, "simulation_tests: unknown argument %s; --schedules=N, --search\n", argv[i]);
      return 64;
    }
  }
  return RUN_ALL_TESTS();
}
