#include "server/keys/admin/upgrade.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "server/base/errors.h"
#include "server/model/change_codec.h"
#include "tests/support/fake_clock.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/memory_store/memory_key_store.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using ::testing::ElementsAre;
using testing::HasCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;

constexpr absl::StatusCode kRefused = absl::StatusCode::kFailedPrecondition;

// Lets something happen just before a row is forgotten, or the level raised.
class InterruptedStore final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  absl::StatusOr<bool> ForgetReplica(const std::string& replica, int64_t beat) override {
    if (before_forgetting) before_forgetting();
    return ForwardingStore::ForgetReplica(replica, beat);
  }
  absl::StatusOr<storage::Committed> Commit(const storage::LockPlan& plan, Decide decide) override {
    if (before_commit) before_commit();
    if (!commit_fails_with.ok()) return commit_fails_with;
    return ForwardingStore::Commit(plan, decide);
  }
  std::function<void()> before_forgetting;
  std::function<void()> before_commit;
  absl::Status commit_fails_with;
};

// An installation of release 0's level, whose time passes while somebody waits.
struct Installation {
  Installation() { store.SetLevel(kReleaseZeroLevel); }

  absl::StatusOr<Upgrade::Result> Finish() {
    Upgrade upgrade({.store = interrupted,
                     .clock = clock,
                     .pause =
                         [this](absl::Duration pause) {
                           clock.Advance(pause);
                           // An hour is far more than it may wait: then it must not go on for ever either.
                           if ((paused += pause) > absl::Hours(1)) store.SetUnavailable(true);
                           if (meanwhile) meanwhile();
                         },
                     .waiting = [this](absl::Duration duration) { waited = duration; }});
    return upgrade.Finish("server-1");
  }
  int Level() { return store.ReadSettings()->level; }
  void EnterOld(const std::string& id) { store.EnterReplicaOfLevels(id, 1, kReleaseZeroLevel); }
  void Renew(const std::string& id) { ASSERT_THAT(store.RenewLease({id, 0, 0}, 0, 2), IsOk()); }

  testing::FakeClock clock;
  storage::MemoryKeyStore store{[] { return absl::Now(); }};
  InterruptedStore interrupted{store};
  std::function<void()> meanwhile;
  std::optional<absl::Duration> waited;
  absl::Duration paused;
};

TEST(Upgrade, WithoutServersOfTheVersionBeforeTheLevelRisesAtOnce) {
  Installation installation;
  ASSERT_THAT(installation.store.EnterReplica("new", ""), IsOk());
  const absl::StatusOr<Upgrade::Result> result = installation.Finish();
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->from, 2);
  EXPECT_EQ(result->level, 3);
  EXPECT_EQ(result->revision, 1);
  EXPECT_THAT(result->departed, IsEmpty());
  EXPECT_FALSE(installation.waited);
  EXPECT_EQ(installation.Level(), 3);
  EXPECT_EQ(installation.store.ReadReplicas()->size(), 1u);
}

TEST(Upgrade, TheChangeIsLoggedWithTheBoundAsItWas) {
  Installation installation;
  ASSERT_THAT(installation.Finish(), IsOk());
  const storage::LogPage page = installation.store.ReadLog(1, 2).value();
  const absl::StatusOr<Change> change = DecodeBody(page.rows.at(0));
  ASSERT_THAT(change, IsOk());
  EXPECT_EQ(change->settings->level, 3);
  EXPECT_EQ(change->settings->bound, absl::Seconds(5));
  EXPECT_THAT(page.rows[0].body, HasSubstr(R"("principal":"operator")"));
  EXPECT_THAT(page.rows[0].body, HasSubstr(R"("method":"upgrade finish")"));
  EXPECT_THAT(page.rows[0].body, HasSubstr(R"("server":"server-1")"));
}

TEST(Upgrade, ASecondTimeChangesNothing) {
  Installation installation;
  ASSERT_THAT(installation.Finish(), IsOk());
  const absl::StatusOr<Upgrade::Result> again = installation.Finish();
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->revision, 0);
  EXPECT_EQ(again->level, 3);
  EXPECT_EQ(installation.store.ReadLog(0, 2)->head, 1);
}

TEST(Upgrade, AServerOfTheVersionBeforeThatRenewsItsLeaseRefusesItByName) {
  Installation installation;
  installation.EnterOld("old");
  int pauses = 0;
  installation.meanwhile = [&] {
    if (++pauses == 30) installation.Renew("old");
  };
  const absl::StatusOr<Upgrade::Result> result = installation.Finish();
  EXPECT_THAT(result, HasCode(kRefused));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("server old reads feature levels 1 to 2, not 3"));
  EXPECT_EQ(installation.Level(), 2);
  EXPECT_EQ(installation.store.ReadLog(0, 2)->head, 0);
  EXPECT_EQ(installation.store.ReadReplicas()->size(), 1u) << "it is alive";
  EXPECT_LT(pauses, 40) << "there is nothing more to wait for";
}

TEST(Upgrade, OneThatIsDeadForTheLongestLeaseIsForgottenAndNeverComesBack) {
  Installation installation;
  installation.EnterOld("old");
  installation.Renew("old");
  ASSERT_THAT(installation.store.EnterReplica("new", ""), IsOk());
  const base::BootTime began = installation.clock.BootNow();
  const absl::StatusOr<Upgrade::Result> result = installation.Finish();
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->departed, ElementsAre("old"));
  EXPECT_EQ(installation.waited, core::WithClockError(absl::Seconds(5)));
  EXPECT_GE(installation.clock.BootNow() - began, core::WithClockError(absl::Seconds(5)));
  EXPECT_EQ(installation.Level(), 3);
  EXPECT_THAT(installation.store.RenewLease({"old", 0, 0}, 0, 2), testing::HasReason("REPLICA_FORGOTTEN"));
}

TEST(Upgrade, OneThatComesWhileItWaitsRefusesIt) {
  Installation installation;
  installation.EnterOld("dead");
  installation.meanwhile = [&] { installation.EnterOld("late"); };
  EXPECT_THAT(installation.Finish(), HasCode(kRefused));
  EXPECT_EQ(installation.Level(), 2);
}

TEST(Upgrade, OneThatRenewsJustBeforeItIsForgottenRefusesIt) {
  Installation installation;
  installation.EnterOld("old");
  installation.interrupted.before_forgetting = [&] { installation.Renew("old"); };
  const absl::StatusOr<Upgrade::Result> result = installation.Finish();
  EXPECT_THAT(result, HasCode(kRefused));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("server old"));
  EXPECT_EQ(installation.Level(), 2);
  EXPECT_EQ(installation.store.ReadReplicas()->size(), 1u) << "it has a lease";
}

TEST(Upgrade, OneThatComesJustBeforeTheLevelIsRaisedRefusesIt) {
  Installation installation;
  installation.interrupted.before_commit = [&] { installation.EnterOld("late"); };
  const absl::StatusOr<Upgrade::Result> result = installation.Finish();
  EXPECT_THAT(result, HasCode(kRefused));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("server late"));
  EXPECT_EQ(installation.Level(), 2);
}

TEST(Upgrade, ACommitThatFailsForAnotherReasonIsNotBlamedOnAServer) {
  Installation installation;
  installation.interrupted.before_commit = [&] { installation.EnterOld("late"); };
  installation.interrupted.commit_fails_with = errors::OutcomeUnknown();
  EXPECT_THAT(installation.Finish(), testing::HasReason("OUTCOME_UNKNOWN"));
}

// Sets the bound as an operator would.
void SetBound(Installation& installation, int seconds, int previous) {
  const auto decide = [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
    Change change;
    change.settings = state.settings;
    change.settings->bound = absl::Seconds(seconds);
    change.settings->previous_bound = absl::Seconds(previous);
    change.body = EncodeBody(change, Audit());
    storage::Mutation mutation;
    mutation.changes.push_back(change);
    return mutation;
  };
  ASSERT_THAT(installation.store.Commit({}, decide), IsOk());
}

TEST(Upgrade, ALongerBoundOfBeforeIsWaitedFor) {
  Installation installation;
  SetBound(installation, 2, 40);
  installation.EnterOld("dead");
  ASSERT_THAT(installation.Finish(), IsOk());
  EXPECT_EQ(installation.waited, core::WithClockError(absl::Seconds(40)));
}

TEST(Upgrade, ABoundThatIsRaisedMeanwhileIsWaitedFor) {
  Installation installation;
  installation.EnterOld("dead");
  const base::BootTime began = installation.clock.BootNow();
  bool raised = false;
  installation.meanwhile = [&] {
    if (!std::exchange(raised, true)) SetBound(installation, 60, 5);
  };
  ASSERT_THAT(installation.Finish(), IsOk());
  EXPECT_GE(installation.clock.BootNow() - began, core::WithClockError(absl::Seconds(60)));
}

}  // namespace
}  // namespace latchkey::keys
