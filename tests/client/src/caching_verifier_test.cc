#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/src/caching_verifier.h"
#include "client/src/channel.h"
#include "client/src/key_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "latchkey/testing/test_server.h"
#include "latchkey/verifier.h"
#include "tests/client/src/caching_fixture.h"

// The real Verifier against latchkey::testing::TestServer.
namespace latchkey {
namespace {

using ::testing::HasSubstr;
using testing::TestServer;

// A verifier whose uses are reported at once, not each 10 s.
std::unique_ptr<Verifier> ConnectReporting(const TestServer& server, absl::Duration interval) {
  const VerifierOptions options = server.Options();
  auto connection = std::make_unique<client::Connection>(client::MakeChannel(options.server).value(),
                                                         client::ReadKeyFile(options.key_file).value());
  auto verifier = std::make_unique<client::CachingVerifier>(
      client::CachingVerifier::Options{.timeout = absl::Seconds(20), .usage_interval = interval}, std::move(connection),
      [server = options.server] { return client::MakeChannel(server, client::Sharing::kOwn).value(); });
  EXPECT_TRUE(Eventually([&] { return verifier->Stats().lease_remaining > absl::ZeroDuration(); }));
  return verifier;
}

TEST(CachingVerifier, HitsDoNotCallTheServer) {
  TestServer server;
  const std::string key = server.AddKey({.organization = "acme", .display_name = "Nightly", .role = "editor"});
  const auto verifier = ConnectWatching(Patient(server));
  ASSERT_TRUE(verifier->Verify(key).allowed());
  for (int i = 0; i < 100; ++i) {
    const Answer answer = verifier->Verify(key, {.required_permissions = {"app.write"}});
    ASSERT_TRUE(answer.allowed());
    EXPECT_EQ(answer.identity().display_name(), "Nightly");
    EXPECT_EQ(answer.identity().organization(), "acme");
  }
  EXPECT_EQ(server.questions(key), 1);
  EXPECT_EQ(verifier->Stats().hits, 100);
  EXPECT_EQ(verifier->Stats().misses, 1);
}

TEST(CachingVerifier, PermissionsAndAddressAreJudgedForEachWaiterFromOneAnswer) {
  TestServer server;
  const std::string key = server.AddKey({.role = "viewer", .allowed_cidrs = {"10.0.0.0/8"}});
  const auto verifier = ConnectWatching(Patient(server));
  EXPECT_EQ(verifier->Verify(key).decision(), Decision::kClientNotAllowed);
  EXPECT_EQ(verifier->Verify(key, {.client_ip = "192.0.2.1"}).decision(), Decision::kClientNotAllowed);
  EXPECT_EQ(verifier->Verify(key, {.client_ip = "10.1.2.3"}).decision(), Decision::kAllowed);
  EXPECT_EQ(verifier->Verify(key, {.required_permissions = {"app.write"}, .client_ip = "10.1.2.3"}).decision(),
            Decision::kPermissionDenied);
  EXPECT_EQ(server.questions(key), 1);
}

TEST(CachingVerifier, AddressThatIsNoneIsTheCallersFault) {
  TestServer server;
  const auto verifier = Connect(Patient(server));
  const Answer answer = verifier->Verify(server.AddKey(), {.client_ip = "10.0.0.1:80"});
  EXPECT_EQ(answer.error().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.error().message()), HasSubstr("client_ip"));
}

TEST(CachingVerifier, RevokedKeyIsSoonDenied) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.Revoke(key);
  EXPECT_TRUE(Eventually([&] { return verifier->Verify(key).decision() == Decision::kRevoked; }));
}

TEST(CachingVerifier, RevocationIsAcknowledgedByAnExtraPing) {
  TestServer server({.max_staleness = absl::Seconds(60)});
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  server.Revoke(key);
  EXPECT_TRUE(Eventually([&] { return server.acknowledged_revision() == server.revision(); }));
  // And only then: the acknowledged change is in force.
  EXPECT_EQ(verifier->Verify(key).decision(), Decision::kRevoked);
}

TEST(CachingVerifier, NarrowedRoleAndDeletedOrganizationReachTheCache) {
  TestServer server;
  const std::string key = server.AddKey({.role = "editor"});
  const std::string other = server.AddKey({.organization = "other"});
  const auto verifier = ConnectWatching(Patient(server));
  ASSERT_TRUE(verifier->Verify(key, {.required_permissions = {"app.write"}}).allowed());
  ASSERT_TRUE(verifier->Verify(other).allowed());
  server.SetRolePermissions("acme", "editor", {"app.read"});
  server.DeleteOrganization("other");
  EXPECT_TRUE(Eventually([&] {
    return verifier->Verify(key, {.required_permissions = {"app.write"}}).decision() == Decision::kPermissionDenied &&
           verifier->Verify(other).decision() == Decision::kRevoked;
  }));
  EXPECT_TRUE(verifier->Verify(key).allowed());
}

TEST(CachingVerifier, ConcurrentMissesOfOneKeyAreOneQuestion) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  server.SetLatency(absl::Milliseconds(100));
  constexpr int kWaiters = 50;
  std::atomic<int> allowed = 0;
  std::atomic<int> denied = 0;
  absl::BlockingCounter answered(kWaiters);
  for (int i = 0; i < kWaiters; ++i) {
    const VerifyParams params = i % 2 == 0 ? VerifyParams{} : VerifyParams{.required_permissions = {"app.write"}};
    verifier->VerifyAsync(key, params, [&](const Answer& answer) {
      ++(answer.allowed() ? allowed : denied);
      answered.DecrementCount();
    });
  }
  answered.Wait();
  EXPECT_EQ(allowed, kWaiters / 2);
  EXPECT_EQ(denied, kWaiters / 2);
  EXPECT_EQ(server.questions(key), 1);
  EXPECT_EQ(verifier->Stats().coalesced, kWaiters - 1);
}

TEST(CachingVerifier, MissesOfManyKeysRideInBatches) {
  TestServer server;
  constexpr int kKeys = 500;
  std::vector<std::string> keys;
  for (int i = 0; i < kKeys; ++i) keys.push_back(server.AddKey());
  const auto verifier = ConnectWatching(Patient(server));
  std::atomic<int> allowed = 0;
  absl::BlockingCounter answered(kKeys);
  for (const std::string& key : keys) {
    verifier->VerifyAsync(key, {}, [&](const Answer& answer) {
      if (answer.allowed()) ++allowed;
      answered.DecrementCount();
    });
  }
  answered.Wait();
  EXPECT_EQ(allowed, kKeys);
  const auto counts = server.counts();
  EXPECT_GT(counts.stream_questions, 0);
  EXPECT_LT(counts.stream_messages, counts.stream_questions);
  EXPECT_GE(counts.stream_messages * 64, counts.stream_questions);
  for (const std::string& key : keys) EXPECT_TRUE(verifier->Verify(key).allowed());
  EXPECT_EQ(server.counts().questions, counts.questions);
}

TEST(CachingVerifier, EachWaiterKeepsItsOwnDeadline) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  server.SetLatency(absl::Milliseconds(400));
  absl::BlockingCounter answered(2);
  Answer patient;
  Answer hurried;
  std::atomic<int> order = 0;
  int patient_place = 0;
  int hurried_place = 0;
  verifier->VerifyAsync(key, {}, [&](Answer answer) {
    patient = std::move(answer);
    patient_place = ++order;
    answered.DecrementCount();
  });
  verifier->VerifyAsync(key, {.timeout = absl::Milliseconds(20)}, [&](Answer answer) {
    hurried = std::move(answer);
    hurried_place = ++order;
    answered.DecrementCount();
  });
  answered.Wait();
  EXPECT_EQ(hurried.error().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(patient.allowed());
  EXPECT_LT(hurried_place, patient_place);
}

TEST(CachingVerifier, LateJoinerIsNotBoundByTheFirstWaitersDeadline) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  server.SetLatency(absl::Milliseconds(300));
  absl::BlockingCounter answered(2);
  Answer first;
  Answer joiner;
  verifier->VerifyAsync(key, {.timeout = absl::Milliseconds(50)}, [&](Answer answer) {
    first = std::move(answer);
    answered.DecrementCount();
  });
  verifier->VerifyAsync(key, {}, [&](Answer answer) {
    joiner = std::move(answer);
    answered.DecrementCount();
  });
  answered.Wait();
  EXPECT_EQ(first.error().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(joiner.allowed()) << joiner.error();
}

TEST(CachingVerifier, StuckStreamFallsBackToUnaryAndIsReplaced) {
  TestServer server;
  std::vector<std::string> keys;
  for (int i = 0; i < 8; ++i) keys.push_back(server.AddKey());
  const auto verifier = ConnectWatching(Patient(server));
  server.StallVerifyStreams(true);
  for (const std::string& key : keys) EXPECT_TRUE(verifier->Verify(key).allowed());
  const VerifierStats stats = verifier->Stats();
  EXPECT_EQ(stats.fallbacks, 8);
  EXPECT_GE(stats.stream_breaks, 2);
  EXPECT_EQ(server.counts().verify_calls, 8);

  server.StallVerifyStreams(false);
  const std::string after = server.AddKey();
  EXPECT_TRUE(verifier->Verify(after).allowed());
}

// Else it would wait its whole time for a stream that has been given up.
TEST(CachingVerifier, ErrorOfTheCallThatTookOverFromAStuckStreamIsTheAnswer) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  server.StallVerifyStreams(true);
  absl::Notification answered;
  Answer answer;
  verifier->VerifyAsync(key, {}, [&](Answer given) {
    answer = std::move(given);
    answered.Notify();
  });
  ASSERT_TRUE(Eventually([&] { return server.counts().stream_questions == 1; }));
  server.SetAvailable(false);
  answered.WaitForNotification();
  EXPECT_EQ(answer.error().code(), absl::StatusCode::kUnavailable) << answer.error();
  EXPECT_EQ(verifier->Stats().fallbacks, 1);
}

TEST(CachingVerifier, LostWatchIsOpenedAgainAndResumes) {
  TestServer server;
  const std::string key = server.AddKey();
  const std::string revoked = server.AddKey();
  const auto recorder = std::make_shared<Recorder>();
  VerifierOptions options = Patient(server);
  options.observer = recorder;
  const auto verifier = ConnectWatching(options);
  ASSERT_TRUE(verifier->Verify(key).allowed());
  ASSERT_TRUE(verifier->Verify(revoked).allowed());
  server.EndWatches();
  server.Revoke(revoked);  // While nobody may be listening.
  EXPECT_TRUE(Eventually([&] { return recorder->resumed_ == 1; }));
  EXPECT_TRUE(Eventually([&] { return verifier->Verify(revoked).decision() == Decision::kRevoked; }));
  EXPECT_TRUE(verifier->Verify(key).allowed());
  EXPECT_EQ(server.questions(key), 1);
  EXPECT_EQ(verifier->Stats().watch_resumes, 1);
  EXPECT_GE(recorder->downs_, 1);
}

TEST(CachingVerifier, RewrittenHistoryDropsEverything) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto verifier = ConnectWatching(Patient(server));
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.RewriteHistory();
  EXPECT_TRUE(Eventually([&] { return verifier->Stats().watch_connects == 2; }));
  EXPECT_EQ(verifier->Stats().watch_resumes, 0);
  EXPECT_TRUE(verifier->Verify(key).allowed());
  EXPECT_EQ(server.questions(key), 2);
}

TEST(CachingVerifier, DrainOpensAnotherStreamBeforeTheOldOneEndsAndKeepsTheCache) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto recorder = std::make_shared<Recorder>();
  VerifierOptions options = Patient(server);
  options.observer = recorder;
  const auto verifier = ConnectWatching(options);
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.Drain();
  EXPECT_TRUE(Eventually([&] { return server.counts().watches == 2 && server.open_watches() == 1; }));
  EXPECT_TRUE(Eventually([&] { return recorder->resumed_ == 1; }));
  EXPECT_EQ(recorder->drains_, 1);
  EXPECT_EQ(recorder->downs_, 0);
  EXPECT_TRUE(verifier->Verify(key).allowed());
  EXPECT_EQ(server.questions(key), 1);
}

TEST(CachingVerifier, SilentWatchIsReplaced) {
  TestServer server({.max_staleness = absl::Milliseconds(500)});
  const auto verifier = ConnectWatching(Patient(server));
  server.StallWatches(true);
  EXPECT_TRUE(Eventually([&] { return server.counts().watches >= 2; }));
  server.StallWatches(false);
  EXPECT_TRUE(Eventually([&] { return verifier->Stats().lease_remaining > absl::ZeroDuration(); }));
}

TEST(CachingVerifier, WithoutALeaseNothingIsAnsweredFromMemory) {
  TestServer server({.max_staleness = absl::Milliseconds(300)});
  const std::string key = server.AddKey();
  const auto recorder = std::make_shared<Recorder>();
  VerifierOptions options = Patient(server);
  options.observer = recorder;
  const auto verifier = ConnectWatching(options);
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.SetAvailable(false);
  EXPECT_TRUE(Eventually([&] { return verifier->Verify(key).undecided(); }));
  EXPECT_EQ(verifier->Verify(key).error().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Eventually([&] { return recorder->lost_ == 1; }));
  server.SetAvailable(true);
  EXPECT_TRUE(Eventually([&] { return verifier->Verify(key).allowed(); }));
  EXPECT_TRUE(Eventually([&] { return recorder->gained_ == 2; }));
  EXPECT_EQ(recorder->graces_, 0);
}

TEST(CachingVerifier, GraceBelievesWhatWasVerifiedAndNothingElse) {
  TestServer server({.max_staleness = absl::Milliseconds(300)});
  const std::string key = server.AddKey({.role = "viewer"});
  const std::string unseen = server.AddKey();
  const auto recorder = std::make_shared<Recorder>();
  VerifierOptions options = Patient(server);
  options.on_unavailable = VerifierOptions::OnUnavailable::kGrace;
  options.grace = absl::Minutes(10);
  options.observer = recorder;
  const auto verifier = ConnectWatching(options);
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.SetAvailable(false);
  ASSERT_TRUE(Eventually([&] { return verifier->Verify(key).allowed() && verifier->Stats().grace_uses > 0; }));
  EXPECT_EQ(verifier->Verify(key, {.required_permissions = {"app.write"}}).decision(), Decision::kPermissionDenied);
  EXPECT_TRUE(verifier->Verify(unseen).undecided());
  EXPECT_TRUE(Eventually([&] { return recorder->graces_ == 1; }));
  EXPECT_GT(verifier->Stats().staleness, verifier->Stats().max_staleness);
}

TEST(CachingVerifier, KeyThatIsGoodAgainWhenTimeIsUpIsNoUseOfGrace) {
  TestServer server({.max_staleness = absl::Milliseconds(500)});
  const std::string key = server.AddKey();
  const auto recorder = std::make_shared<Recorder>();
  VerifierOptions options = Patient(server);
  options.on_unavailable = VerifierOptions::OnUnavailable::kGrace;
  options.grace = absl::Minutes(10);
  options.observer = recorder;
  const auto verifier = ConnectWatching(options);
  ASSERT_TRUE(Eventually([&] { return server.counts().pings >= 12; }));
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.StallWatches(true);
  server.SetLatency(absl::Seconds(20));
  ASSERT_TRUE(Eventually([&] { return verifier->Stats().lease_remaining == absl::ZeroDuration(); }));
  absl::Notification answered;
  Answer answer;
  verifier->VerifyAsync(key, {.timeout = absl::Seconds(3)}, [&](Answer given) {
    answer = std::move(given);
    answered.Notify();
  });
  server.StallWatches(false);
  answered.WaitForNotification();
  EXPECT_TRUE(answer.allowed()) << answer.error();
  EXPECT_EQ(verifier->Stats().misses, 2);
  EXPECT_EQ(verifier->Stats().grace_uses, 0);
  EXPECT_EQ(recorder->graces_, 0);
}

TEST(CachingVerifier, RevokedCallerIsUndecidedAndObserved) {
  TestServer server;
  const std::string key = server.AddKey();
  const auto recorder = std::make_shared<Recorder>();
  VerifierOptions options = Patient(server);
  options.observer = recorder;
  server.AcceptCaller(false);
  const auto verifier = Connect(options);
  EXPECT_EQ(verifier->Verify(key).error().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(Eventually([&] { return absl::IsUnauthenticated(recorder->why()); }));
  server.AcceptCaller(true);
  EXPECT_TRUE(Eventually([&] { return verifier->Verify(key).allowed(); }));
}

// Its lease would last as good as for ever, and grace beyond it.
TEST(CachingVerifier, CallerThatIsRefusedBelievesNothingMore) {
  TestServer server({.max_staleness = absl::Minutes(1)});
  const std::string key = server.AddKey();
  VerifierOptions options = Patient(server);
  options.on_unavailable = VerifierOptions::OnUnavailable::kGrace;
  options.grace = absl::Minutes(10);
  const auto verifier = ConnectWatching(options);
  ASSERT_TRUE(Eventually([&] {
    const int64_t hits = verifier->Stats().hits;
    return verifier->Verify(key).allowed() && verifier->Stats().hits > hits;
  }));
  server.AcceptCaller(false);
  EXPECT_TRUE(Eventually([&] { return absl::IsUnauthenticated(verifier->Verify(key).error()); }));
  server.AcceptCaller(true);
  EXPECT_TRUE(Eventually([&] { return verifier->Verify(key).allowed(); }));
}

TEST(CachingVerifier, UsesAnsweredFromMemoryAreReported) {
  TestServer server;
  const std::string key = server.AddKey({.role = "viewer"});
  auto verifier = ConnectReporting(server, absl::Milliseconds(50));
  ASSERT_TRUE(verifier->Verify(key).allowed());  // The server's own to count.
  for (int i = 0; i < 7; ++i) ASSERT_TRUE(verifier->Verify(key).allowed());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(verifier->Verify(key, {.required_permissions = {"app.write"}}).denied());
  }
  EXPECT_TRUE(Eventually(
      [&] { return server.reported_uses(key) == 7 && server.reported_uses(key, Decision::kPermissionDenied) == 3; }));
  EXPECT_TRUE(Eventually([&] { return verifier->Stats().uses_reported == 10; }));
}

TEST(CachingVerifier, UsesOfAnOutageAreReportedOnceWhenItIsOver) {
  TestServer server;
  const std::string key = server.AddKey();
  auto verifier = ConnectReporting(server, absl::Milliseconds(20));
  ASSERT_TRUE(verifier->Verify(key).allowed());
  server.SetAvailable(false);
  // From memory: the lease is still held.
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(verifier->Verify(key).allowed());
  ASSERT_TRUE(Eventually([&] { return server.counts().reports >= 3; }));
  EXPECT_EQ(server.reported_uses(key), 0);
  server.SetAvailable(true);
  EXPECT_TRUE(Eventually([&] { return server.reported_uses(key) == 5; }));
}

TEST(CachingVerifier, DestructionReportsWhatIsLeft) {
  TestServer server;
  const std::string key = server.AddKey();
  auto verifier = ConnectWatching(Patient(server));
  ASSERT_TRUE(verifier->Verify(key).allowed());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(verifier->Verify(key).allowed());
  verifier.reset();
  EXPECT_EQ(server.reported_uses(key), 5);
}

TEST(CachingVerifier, NothingIsReportedIfNobodyWantsIt) {
  TestServer server;
  const std::string key = server.AddKey();
  VerifierOptions options = Patient(server);
  options.report_usage = false;
  auto verifier = ConnectWatching(options);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(verifier->Verify(key).allowed());
  verifier.reset();
  EXPECT_EQ(server.counts().reports, 0);
}

TEST(CachingVerifier, DestructionWaitsForEveryWaiter) {
  TestServer server;
  std::vector<std::string> keys;
  for (int i = 0; i < 20; ++i) keys.push_back(server.AddKey());
  auto verifier = ConnectWatching(Patient(server));
  server.SetLatency(absl::Milliseconds(50));
  int answered = 0;  // Read without a lock: only the destructor's wait makes it sound.
  absl::Mutex mutex;
  for (const std::string& key : keys) {
    verifier->VerifyAsync(key, {}, [&](const Answer& answer) {
      const absl::MutexLock lock(&mutex);
      if (answer.allowed()) ++answered;
    });
  }
  verifier.reset();
  EXPECT_EQ(answered, 20);
}

TEST(CachingVerifier, SeveralAddressesAreUsedWhileOneIsDown) {
  TestServer server;
  const std::string key = server.AddKey();
  VerifierOptions options = Patient(server);
  options.server = "ipv4:127.0.0.1:1," + server.address();
  const auto verifier = ConnectWatching(options);
  EXPECT_TRUE(verifier->Verify(key).allowed());
}

TEST(CachingVerifier, HammeredFromManyThreadsWhileEverythingBreaksNeverAllowsTheRevokedAfterItsAcknowledgement) {
  TestServer server({.max_staleness = absl::Seconds(2)});
  std::vector<std::string> keys;
  for (int i = 0; i < 20; ++i) keys.push_back(server.AddKey());
  const auto verifier = ConnectWatching(Patient(server));
  std::atomic<bool> stop = false;
  std::atomic<int> revoked_until = 0;  // Keys before it are known to be refused everywhere.
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = static_cast<size_t>(t); !stop; ++i) {
        const size_t at = i % keys.size();
        const bool dead = static_cast<int>(at) < revoked_until;
        if (verifier->Verify(keys[at], {.timeout = absl::Milliseconds(500)}).allowed() && dead) ++wrong;
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    if (i % 4 == 1) server.EndWatches();
    if (i % 4 == 2) server.Drain();
    if (i % 4 == 3) server.StallVerifyStreams(i % 8 == 3);
    server.Revoke(keys[static_cast<size_t>(i)]);
    EXPECT_TRUE(
        Eventually([&] { return server.open_watches() == 1 && server.acknowledged_revision() == server.revision(); }));
    revoked_until = i + 1;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(CachingVerifier, StalenessIsUnknownWhileAStreamThatDidNotResumeHasGivenNoLease) {
  TestServer server;
  const auto verifier = ConnectWatching(Patient(server));
  EXPECT_LE(verifier->Stats().staleness, verifier->Stats().max_staleness);
  server.StallWatches(true);
  server.RewriteHistory();
  ASSERT_TRUE(Eventually([&] { return verifier->Stats().watch_connects == 2; }));
  const VerifierStats stats = verifier->Stats();
  EXPECT_EQ(stats.watch_resumes, 0);
  EXPECT_EQ(stats.lease_remaining, absl::ZeroDuration());
  EXPECT_EQ(stats.lease_age, absl::InfiniteDuration());
  EXPECT_EQ(stats.staleness, absl::InfiniteDuration());
  server.StallWatches(false);
  EXPECT_TRUE(Eventually([&] { return verifier->Stats().staleness <= verifier->Stats().max_staleness; }));
}

}  // namespace
}  // namespace latchkey
