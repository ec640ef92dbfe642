// kill -9 of the server and of PostgreSQL while keys are created and deleted: nothing acknowledged is lost, nothing
// else is half done.
#include <gtest/gtest.h>
#include <signal.h>

#include <iostream>

#include "tests/faults/deployment.h"
#include "tests/faults/history.h"
#include "tests/faults/load.h"
#include "tests/support/postgres_environment.h"

namespace latchkey::faults {
namespace {

constexpr int kThreads = 6;

void Report(const char* what, unsigned seed, const Load::Summary& summary) {
  std::cout << what << " (seed " << seed << "): acknowledged " << summary.creates << " creates and " << summary.deletes
            << " deletes; " << summary.unknown << " without an answer, " << summary.had_happened
            << " of which had happened; " << summary.refused << " refused\n";
}

// After the last round: no server runs that could still write.
void CheckDatabase(const std::string& database) {
  EXPECT_EQ(FlawOfHistory(database), "");
  EXPECT_EQ(FlawOfRequests(database), "");
  EXPECT_EQ(KeysAboveTheirCreator(database), 0);
}

TEST(Kill, OfTheServerLosesNothingThatWasAcknowledged) {
  constexpr unsigned kSeed = 20231;
  constexpr int kRounds = 10;
  Random random(kSeed);
  OneServer one(testing::FreshDatabase());
  Load load(one.server->channel(), *one.owner, kThreads, kSeed);
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    load.Start();
    EXPECT_TRUE(load.WaitForAcknowledged(Between(random, 1, 60)));
    absl::SleepFor(absl::Microseconds(Between(random, 0, 5000)));
    one.server->Kill();
    load.Stop();
    one.server->Start();
    ASSERT_TRUE(one.server->WaitUntilServing());
    load.CheckAndSettle(*one.owner);
    EXPECT_EQ(FlawOfHistory(one.deployment.database()), "");
  }
  one.server->Kill();
  CheckDatabase(one.deployment.database());
  EXPECT_GE(load.summary().unknown, kRounds) << "the kills hit no call";
  Report("kill -9 of the server", kSeed, load.summary());
}

TEST(Kill, OfPostgresLosesNothingThatWasAcknowledged) {
  constexpr unsigned kSeed = 20232;
  constexpr int kRounds = 8;
  Random random(kSeed);
  const testing::TempDirectory directory;
  const std::unique_ptr<app::EmbeddedPostgres> postgres =
      testing::StartPostgres(directory.Child("postgres"), /*durable=*/true);
  OneServer one(postgres->ConnectionString());
  Load load(one.server->channel(), *one.owner, kThreads, kSeed);
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    const int signal = round % 2 == 0 ? SIGKILL : SIGQUIT;
    SCOPED_TRACE(signal == SIGKILL ? "SIGKILL" : "SIGQUIT");
    load.Start();
    EXPECT_TRUE(load.WaitForAcknowledged(Between(random, 1, 60)));
    absl::SleepFor(absl::Microseconds(Between(random, 0, 5000)));
    postgres->Signal(signal);
    const absl::Status restarted = postgres->Restart();
    ASSERT_TRUE(restarted.ok()) << restarted;
    load.Stop();
    ASSERT_TRUE(one.server->WaitUntilServing());
    load.CheckAndSettle(*one.owner);
    EXPECT_EQ(FlawOfHistory(one.deployment.database()), "");
  }
  one.server->Kill();
  CheckDatabase(one.deployment.database());
  Report("SIGKILL and SIGQUIT of PostgreSQL", kSeed, load.summary());
}

}  // namespace
}  // namespace latchkey::faults
