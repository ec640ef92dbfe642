// The database away, and several servers on one: nothing is decided on stale state, and all of it comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdio>

#include "absl/time/clock.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::testing {
namespace {

using grpc::health::v1::HealthCheckResponse;

// The staleness bound, the service's promise.
constexpr absl::Duration kL = absl::Seconds(5);

void Stop(app::EmbeddedPostgres& postgres) {
  postgres.Signal(SIGQUIT);
  ASSERT_TRUE(Eventually(absl::Minutes(1), [&] { return !postgres.Running(); }));
}

bool Undecided(const absl::StatusOr<v1::VerifyResponse>& answer) {
  return answer.status().code() == absl::StatusCode::kUnavailable && WireReasonOf(answer.status()) == "LEASE_EXPIRED";
}

TEST(Outage, AServerStartedWithoutItsDatabaseListensAndServesWhenItComes) {
  const TempDirectory directory;
  const auto postgres = StartPostgres(directory.Child("postgres"));
  const Installation installation(postgres->ConnectionString());
  Stop(*postgres);
  RunningServer server(installation.Serve());
  ASSERT_TRUE(server.listens());
  for (const char* service : {"", "latchkey.v1.KeyAdmin", "latchkey.v1.KeyVerify"}) {
    EXPECT_EQ(HealthOf(server.channel(), service), HealthCheckResponse::NOT_SERVING) << service;
  }
  const RpcClient system = server.As(installation.system_key());
  EXPECT_THAT(system.Verify(installation.system_key()), Refused(absl::StatusCode::kUnavailable, "LEASE_EXPIRED"));
  EXPECT_THAT(system.CreateOrganization("acme"), Refused(absl::StatusCode::kUnavailable, "LEASE_EXPIRED"));
  EXPECT_FALSE(server.process().WaitFor(absl::ZeroDuration()).has_value());

  ASSERT_THAT(postgres->Restart(), IsOk());
  ASSERT_TRUE(server.WaitUntilServing());
  EXPECT_EQ(system.Decide(installation.system_key()), v1::DECISION_ALLOWED);
  EXPECT_THAT(system.CreateOrganization("acme"), IsOk());
}

TEST(Outage, ProvenKeysVerifyWithinTheBoundWritesAreRefusedAndAllComesBack) {
  const TempDirectory directory;
  const auto postgres = StartPostgres(directory.Child("postgres"));
  const Installation installation(postgres->ConnectionString());
  RunningServer server(installation.Serve());
  ASSERT_TRUE(server.WaitUntilServing());
  const RpcClient system = server.As(installation.system_key());
  const v1::CreateKeyResponse proven = system.MustCreate("system", "proven", "verifier");
  const RpcClient verifier = server.As(proven.key_string());
  ASSERT_EQ(verifier.Decide(proven.key_string()), v1::DECISION_ALLOWED);

  // Counted from before the database goes: the server's last good poll was sent later than that less one interval.
  const absl::Time gone_at = absl::Now();
  Stop(*postgres);
  const auto at_once = verifier.Verify(proven.key_string());
  if (absl::Now() - gone_at < kL - absl::Seconds(2)) {
    ASSERT_THAT(at_once, IsOk());
    EXPECT_EQ(at_once->decision(), v1::DECISION_ALLOWED);
  }
  const auto created = system.Create("system", "into the void", "verifier");
  EXPECT_EQ(created.status().code(), absl::StatusCode::kUnavailable) << created.status();
  if (absl::Now() - gone_at < kL - absl::Seconds(2)) {
    EXPECT_EQ(WireReasonOf(created.status()), "DATABASE_UNAVAILABLE");
  }
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] {
    return HealthOf(server.channel(), "latchkey.v1.KeyAdmin") == HealthCheckResponse::NOT_SERVING;
  }));

  // Until the bound is over each answer is the right one or none; then there is none, and never a denial.
  while (absl::Now() - gone_at < kL + absl::Seconds(1)) {
    const auto answer = verifier.Verify(proven.key_string());
    if (answer.ok()) {
      ASSERT_EQ(answer->decision(), v1::DECISION_ALLOWED);
    } else {
      ASSERT_TRUE(Undecided(answer)) << answer.status();
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_THAT(verifier.Verify(proven.key_string()), Refused(absl::StatusCode::kUnavailable, "LEASE_EXPIRED"));
  EXPECT_EQ(HealthOf(server.channel()), HealthCheckResponse::NOT_SERVING);

  ASSERT_THAT(postgres->Restart(), IsOk());
  ASSERT_TRUE(server.WaitUntilServing());
  EXPECT_EQ(verifier.Decide(proven.key_string()), v1::DECISION_ALLOWED);
  EXPECT_TRUE(Eventually(absl::Seconds(30), [&] { return system.Create("system", "after", "verifier").ok(); }));
  const auto keys = system.List("system");
  ASSERT_THAT(keys, IsOk());
  for (const v1::Key& key : keys->keys()) EXPECT_NE(key.display_name(), "into the void");
}

TEST(Outage, TwoServersAgreeWithinTheBoundAndNeitherGuessesWithoutTheDatabase) {
  const TempDirectory directory;
  const auto postgres = StartPostgres(directory.Child("postgres"));
  const Installation installation(postgres->ConnectionString());
  RunningServer one(installation.Serve());
  RunningServer two(installation.Serve());
  ASSERT_TRUE(one.WaitUntilServing());
  ASSERT_TRUE(two.WaitUntilServing());
  const RpcClient on_one = one.As(installation.system_key());
  const RpcClient on_two = two.As(installation.system_key());

  absl::Duration longest;
  for (int i = 0; i < 5; ++i) {
    const v1::CreateKeyResponse made = on_one.MustCreate("system", "short life", "verifier");
    ASSERT_TRUE(Eventually(2 * kL, [&] { return on_two.Decide(made.key_string()) == v1::DECISION_ALLOWED; }));
    ASSERT_THAT(on_one.Delete(made.key().name()), IsOk());
    const absl::Time deleted_at = absl::Now();
    EXPECT_EQ(on_one.Decide(made.key_string()), v1::DECISION_REVOKED);
    absl::Duration took = absl::ZeroDuration();
    for (;;) {
      const absl::Time asked_at = absl::Now();
      const auto answer = on_two.Verify(made.key_string());
      took = absl::Now() - deleted_at;
      if (answer.ok() && answer->decision() == v1::DECISION_REVOKED) break;
      if (answer.ok()) {
        ASSERT_EQ(answer->decision(), v1::DECISION_ALLOWED);
        ASSERT_LT(asked_at - deleted_at, kL) << "accepted later than L";
      }
      ASSERT_LT(took, 2 * kL) << answer.status();
    }
    longest = std::max(longest, took);
  }
  std::printf("a key deleted on one server was refused by the other after at most %lld ms (L = %lld ms)\n",
              static_cast<long long>(absl::ToInt64Milliseconds(longest)),
              static_cast<long long>(absl::ToInt64Milliseconds(kL)));

  const v1::CreateKeyResponse kept = on_one.MustCreate("system", "kept", "verifier");
  ASSERT_TRUE(Eventually(2 * kL, [&] { return on_two.Decide(kept.key_string()) == v1::DECISION_ALLOWED; }));
  Stop(*postgres);
  for (const RpcClient& client : {on_one, on_two}) {
    EXPECT_TRUE(Eventually(2 * kL, [&] {
      const auto answer = client.Verify(kept.key_string());
      EXPECT_TRUE(Undecided(answer) || (answer.ok() && answer->decision() == v1::DECISION_ALLOWED)) << answer.status();
      return Undecided(answer);
    }));
  }
  ASSERT_THAT(postgres->Restart(), IsOk());
  ASSERT_TRUE(one.WaitUntilServing());
  ASSERT_TRUE(two.WaitUntilServing());
  for (const RpcClient& client : {on_one, on_two}) EXPECT_EQ(client.Decide(kept.key_string()), v1::DECISION_ALLOWED);
  EXPECT_EQ(one.Terminate(), 0);
  EXPECT_EQ(on_two.Decide(kept.key_string()), v1::DECISION_ALLOWED);
  EXPECT_EQ(two.Terminate(), 0);
}

}  // namespace
}  // namespace latchkey::testing
