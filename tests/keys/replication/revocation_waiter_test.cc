#include "server/keys/replication/revocation_waiter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "server/keys/replication/key_index.h"
#include "server/keys/replication/watch_hub.h"
#include "server/model/change_codec.h"
#include "tests/support/fake_clock.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/memory_store/memory_key_store.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using ::testing::ElementsAre;
using testing::FakeClock;
using testing::HasReason;
using testing::IsOk;

constexpr int64_t kRevision = 7;

class CountingBell final : public Doorbell {
 public:
  explicit CountingBell(const FakeClock& clock) : clock_(clock) {}
  void Ring(int64_t revision, bool waiting) override {
    EXPECT_EQ(revision, kRevision);
    EXPECT_TRUE(waiting);
    at.push_back(clock_.BootNow());
  }
  std::vector<base::BootTime> at;

 private:
  const FakeClock& clock_;
};

// Lets something happen while the replicas are read, before their rows are seen, and just before one is forgotten.
class InterruptedStore final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  absl::StatusOr<std::vector<storage::Replica>> ReadReplicas() override {
    while_reading();
    return behind().ReadReplicas();
  }
  absl::StatusOr<bool> ForgetReplica(const std::string& replica, int64_t beat) override {
    before_forgetting();
    return behind().ForgetReplica(replica, beat);
  }
  std::function<void()> while_reading = [] {};
  std::function<void()> before_forgetting = [] {};
};

// A waiter whose sleep moves the clock and lets the test act as the other servers.
struct Waiting {
  Waiting() {
    EXPECT_THAT(follower.Renew(), IsOk());  // This server's own row.
    began = clock.BootNow();
  }
  // A renewal of `replica`, entered at its first.
  void Heartbeat(const std::string& replica, int64_t applied, int64_t acknowledged) {
    Renew(replica, applied, {.others = acknowledged});
  }
  void Renew(const std::string& replica, int64_t applied, const storage::Acknowledgements& acknowledged) {
    EXPECT_THAT(store.EnterReplica(replica, ""), IsOk());
    EXPECT_THAT(store.RenewLease({replica, applied, acknowledged}, 0, 2), IsOk());
  }
  void OwnHasAll() { Heartbeat("own", kRevision, kRevision); }
  std::vector<std::string> Replicas() {
    std::vector<std::string> ids;
    const std::vector<storage::Replica> replicas = store.ReadReplicas().value();
    for (const storage::Replica& replica : replicas) ids.push_back(replica.id);
    return ids;
  }
  absl::Status Await(RevocationWait wait, absl::Duration time_left = absl::Minutes(5)) {
    return waiter.Await({.revision = kRevision, .organization = "acme"}, wait, began, began + time_left);
  }
  absl::Duration waited() const { return clock.BootNow() - began; }
  void PutSettings(const Settings& settings) {
    const auto decide = [&](const storage::LockedState&) -> absl::StatusOr<storage::Mutation> {
      storage::Mutation mutation;
      mutation.changes.emplace_back();
      mutation.changes.back().settings = settings;
      mutation.changes.back().body = EncodeBody(mutation.changes.back(), Audit());
      return mutation;
    };
    ASSERT_THAT(store.Commit({}, decide), IsOk());
  }

  FakeClock clock;
  absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  storage::MemoryKeyStore store{[this] { return now; }};
  KeyIndex index;
  WatchHub hub;
  LogFollower follower{store, index, hub, clock, {.replica = "own"}};
  CountingBell bell{clock};
  std::function<void()> meanwhile = [] {};
  std::vector<absl::Duration> pauses;
  InterruptedStore interrupted{store};
  RevocationWaiter waiter{interrupted, follower, &bell, clock, [this](absl::Duration duration) {
                            pauses.push_back(duration);
                            clock.Advance(duration);
                            meanwhile();
                          }};
  base::BootTime began;
};

const absl::Duration kOver = core::WithClockError(absl::Seconds(5));

TEST(RevocationWaiter, CommittedWaitsForNobodyAndRingsNobody) {
  Waiting setup;
  setup.Heartbeat("other", 0, 0);
  EXPECT_THAT(setup.Await(RevocationWait::kCommitted), IsOk());
  EXPECT_TRUE(setup.bell.at.empty());
  EXPECT_EQ(setup.waited(), absl::ZeroDuration());
}

TEST(RevocationWaiter, ServersReturnsAtOnceIfAllHaveAppliedIt) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", kRevision, 0);
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_TRUE(setup.pauses.empty());
}

TEST(RevocationWaiter, ServersWaitsForTheLastOneAndLooksAgainEach5To20Milliseconds) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", kRevision - 1, 0);
  setup.meanwhile = [&] {
    if (setup.pauses.size() == 6) setup.Heartbeat("other", kRevision, 0);
  };
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  ASSERT_EQ(setup.pauses.size(), 6u);
  for (const absl::Duration pause : setup.pauses) {
    EXPECT_GE(pause, absl::Milliseconds(5));
    EXPECT_LE(pause, absl::Milliseconds(20));
  }
}

TEST(RevocationWaiter, ItsOwnServerCountsToo) {
  Waiting setup;
  setup.Heartbeat("other", kRevision, kRevision);
  setup.meanwhile = [&] {
    if (setup.pauses.size() == 3) setup.OwnHasAll();
  };
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.pauses.size(), 3u);
}

TEST(RevocationWaiter, AllWaitsForNoClientsOfOtherOrganizations) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Renew("other", kRevision, {.others = kRevision, .behind = {{"beta", 0}}});
  EXPECT_THAT(setup.Await(RevocationWait::kAll), IsOk());
  EXPECT_EQ(setup.pauses.size(), 0u);
  setup.Renew("other", kRevision, {.others = kRevision, .behind = {{"acme", kRevision - 1}}});
  setup.meanwhile = [&] {
    if (setup.pauses.size() == 2) setup.Renew("other", kRevision, {.others = kRevision});
  };
  EXPECT_THAT(setup.Await(RevocationWait::kAll), IsOk());
  EXPECT_EQ(setup.pauses.size(), 2u);
}

TEST(RevocationWaiter, AllWaitsForWhatTheClientsAcknowledge) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", kRevision, kRevision - 1);
  setup.meanwhile = [&] {
    if (setup.pauses.size() == 4) setup.Heartbeat("other", kRevision, kRevision);
  };
  EXPECT_THAT(setup.Await(RevocationWait::kAll), IsOk());
  EXPECT_EQ(setup.pauses.size(), 4u);
}

TEST(RevocationWaiter, AServerThatRenewsButNeverAppliesItHoldsTheAnswerUntilTheBoundIsOver) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  setup.meanwhile = [&] { setup.Heartbeat("other", 0, 0); };
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), kOver);
}

TEST(RevocationWaiter, TheBoundCountsFromTheCommitNotFromTheCall) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  setup.clock.Advance(absl::Seconds(4));
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), kOver);
}

TEST(RevocationWaiter, AServerWhoseBeatWasSeenUnchangedForTheBoundIsDead) {
  Waiting setup;
  setup.Heartbeat("dead", 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.clock.Advance(kOver);
  setup.began = setup.clock.BootNow();
  setup.OwnHasAll();
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), absl::ZeroDuration());
}

TEST(RevocationWaiter, AServerThatMayStillHoldALeaseIsNotDead) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.clock.Advance(kOver - absl::Milliseconds(1));
  setup.began = setup.clock.BootNow();
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_GE(setup.waited(), absl::Milliseconds(1));
  EXPECT_LE(setup.waited(), absl::Milliseconds(20)) << "until it is dead, not a whole bound more";
}

TEST(RevocationWaiter, AnObservedBeatThatRisesStartsTheCountAnew) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.clock.Advance(kOver);
  setup.Heartbeat("other", 0, 0);
  setup.began = setup.clock.BootNow();
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), kOver);
}

// Its last renewal was while its row was on the way here, not before it was asked for.
TEST(RevocationWaiter, AReadingThatTakesLongMakesNoServerLookDead) {
  Waiting setup;
  setup.OwnHasAll();
  setup.interrupted.while_reading = [&] {
    setup.clock.Advance(kOver);
    setup.Heartbeat("other", 0, 0);
  };
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.interrupted.while_reading = [] {};
  setup.began = setup.clock.BootNow();
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), kOver);
}

TEST(RevocationWaiter, AServerWhoseTimeEndsWhileItIsReadIsDeadAtOnce) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.clock.Advance(kOver - absl::Milliseconds(1));
  setup.began = setup.clock.BootNow();
  setup.interrupted.while_reading = [&] { setup.clock.Advance(absl::Milliseconds(1)); };
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_TRUE(setup.pauses.empty());
}

TEST(RevocationWaiter, AServerThatEnteredAnewIsJudgedByItsNewBeats) {
  Waiting setup;
  setup.OwnHasAll();
  for (int beat = 0; beat < 5; ++beat) setup.Heartbeat("other", 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.store.ForgetReplicas();
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);  // Its first.
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.clock.Advance(kOver - absl::Milliseconds(1));
  setup.began = setup.clock.BootNow();
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_GE(setup.waited(), absl::Milliseconds(1));
  EXPECT_LE(setup.waited(), absl::Milliseconds(20)) << "it is dead by then";
}

TEST(RevocationWaiter, ADatabaseWhoseWallClockIsSetForwardLosesNoServer) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.now += absl::Hours(2);
  ASSERT_THAT(setup.store.EnterReplica("new", ""), IsOk());
  setup.Heartbeat("new", kRevision, kRevision);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  EXPECT_THAT(setup.Replicas(), ElementsAre("new", "other", "own"));
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), kOver) << "it may hold a lease";
}

TEST(RevocationWaiter, ARowWhoseBeatWasSeenUnchangedForAnHourIsTakenAway) {
  Waiting setup;
  for (const char* id : {"dead", "alive"}) setup.Heartbeat(id, 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.clock.Advance(absl::Hours(1) - absl::Nanoseconds(1));
  for (const char* id : {"own", "alive"}) setup.Heartbeat(id, 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  EXPECT_THAT(setup.Replicas(), ElementsAre("alive", "dead", "own"));
  setup.clock.Advance(absl::Nanoseconds(1));
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  EXPECT_THAT(setup.Replicas(), ElementsAre("alive", "own"));
}

TEST(RevocationWaiter, ARowThatRenewsJustBeforeItIsForgottenStays) {
  Waiting setup;
  setup.Heartbeat("other", 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.clock.Advance(absl::Hours(1));
  setup.OwnHasAll();
  int forgettings = 0;
  setup.interrupted.before_forgetting = [&] {
    ++forgettings;
    setup.Heartbeat("other", 0, 0);
  };
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  EXPECT_EQ(forgettings, 1);
  EXPECT_THAT(setup.Replicas(), ElementsAre("other", "own"));
  // It is alive: an hour begins anew.
  setup.clock.Advance(absl::Minutes(59));
  setup.OwnHasAll();
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  EXPECT_EQ(forgettings, 1);
}

TEST(RevocationWaiter, ARowThatCouldNotBeTakenAwayIsTriedAgain) {
  Waiting setup;
  setup.Heartbeat("dead", 0, 0);
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  setup.clock.Advance(absl::Hours(1));
  setup.OwnHasAll();
  setup.interrupted.before_forgetting = [&] { setup.store.SetUnavailable(true); };
  EXPECT_THAT(setup.waiter.Observe(), HasReason("DATABASE_UNAVAILABLE"));
  setup.store.SetUnavailable(false);
  setup.interrupted.before_forgetting = [] {};
  ASSERT_THAT(setup.waiter.Observe(), IsOk());
  EXPECT_THAT(setup.Replicas(), ElementsAre("own"));
}

TEST(RevocationWaiter, ACallersDeadlineThatComesFirstIsSaidSo) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  EXPECT_THAT(setup.Await(RevocationWait::kServers, absl::Seconds(1)), HasReason("DEADLINE_EXCEEDED"));
  EXPECT_EQ(setup.waited(), absl::Seconds(1));
}

TEST(RevocationWaiter, RingsAtOnceAndAgainAboutEach50MillisecondsWhileItWaits) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  EXPECT_THAT(setup.Await(RevocationWait::kServers, absl::Seconds(1)), HasReason("DEADLINE_EXCEEDED"));
  ASSERT_FALSE(setup.bell.at.empty());
  EXPECT_EQ(setup.bell.at.front(), setup.began);
  for (size_t i = 1; i < setup.bell.at.size(); ++i) {
    EXPECT_GE(setup.bell.at[i] - setup.bell.at[i - 1], absl::Milliseconds(50));
    EXPECT_LE(setup.bell.at[i] - setup.bell.at[i - 1], absl::Milliseconds(70));
  }
  EXPECT_GE(setup.bell.at.size(), 14u);
}

TEST(RevocationWaiter, ARaisedBoundThatThisServerHasNotHeardOfCounts) {
  Waiting setup;
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  setup.PutSettings({.bound = absl::Seconds(20), .previous_bound = absl::Seconds(5), .changed_at = setup.now});
  ASSERT_EQ(setup.follower.promised_bound(), absl::Seconds(5));
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), core::WithClockError(absl::Seconds(20)));
}

TEST(RevocationWaiter, ALoweredBoundDoesNotShortenTheWaitWhileOldLeasesAreOut) {
  Waiting setup;
  setup.PutSettings({.bound = absl::Seconds(2), .previous_bound = absl::Seconds(5), .changed_at = setup.now});
  ASSERT_THAT(setup.follower.Renew(), IsOk());
  ASSERT_EQ(setup.follower.bound(), absl::Seconds(2));
  setup.OwnHasAll();
  setup.Heartbeat("other", 0, 0);
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), kOver);
}

TEST(RevocationWaiter, WithoutTheDatabaseTheLongestBoundThereIsCounts) {
  Waiting setup;
  setup.store.SetUnavailable(true);
  EXPECT_THAT(setup.waiter.Observe(), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(setup.Await(RevocationWait::kServers), IsOk());
  EXPECT_EQ(setup.waited(), core::WithClockError(kLongestBound));
}

TEST(RevocationWaiter, ADatabaseThatComesBackIsAskedAgain) {
  Waiting setup;
  setup.OwnHasAll();
  setup.store.SetUnavailable(true);
  setup.meanwhile = [&] {
    if (setup.pauses.size() == 5) setup.store.SetUnavailable(false);
  };
  EXPECT_THAT(setup.Await(RevocationWait::kAll), IsOk());
  EXPECT_EQ(setup.pauses.size(), 5u);
}

}  // namespace
}  // namespace latchkey::keys
