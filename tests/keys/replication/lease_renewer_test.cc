#include "server/keys/replication/lease_renewer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>

#include "absl/time/clock.h"
#include "server/base/errors.h"
#include "server/base/timed_loop.h"
#include "server/model/change_codec.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/memory_store/memory_key_store.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using testing::ForwardingStore;

// Counts what is asked of the store, so that a test can wait for it.
class WatchedStore final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  absl::StatusOr<storage::LogPage> RenewLease(const storage::Heartbeat& beat, int64_t cursor, int limit) override {
    auto page = ForwardingStore::RenewLease(beat, cursor, limit);
    Note([&] { ++renewals_; });
    // Made here: ThreadSanitizer does not see how a status that threads share is counted.
    if (failing_) return errors::Internal("storage: renewing the lease failed, SQLSTATE 42703");
    return page;
  }
  void FailRenewals(bool fail) { failing_ = fail; }
  absl::StatusOr<storage::LogPage> ReadLog(int64_t cursor, int limit) override {
    auto page = ForwardingStore::ReadLog(cursor, limit);
    Note([&] { ++reads_; });
    return page;
  }
  int renewals() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return renewals_;
  }
  int reads() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reads_;
  }
  // False if it does not get there.
  bool WaitUntil(const std::function<bool()>& is_true) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto unlocked = [&] {
      lock.unlock();
      const bool reached = is_true();
      lock.lock();
      return reached;
    };
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!unlocked()) {
      if (changed_.wait_for(lock, std::chrono::milliseconds(20)) == std::cv_status::timeout &&
          std::chrono::steady_clock::now() > end) {
        return false;
      }
    }
    return true;
  }

 private:
  void Note(const std::function<void()>& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    what();
    changed_.notify_all();
  }
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int renewals_ = 0;
  int reads_ = 0;
  std::atomic<bool> failing_ = false;
};

// A server's lease on the real clock. L is a minute, so renewals come each second and a ring's are told from them.
struct Keeping {
  explicit Keeping(absl::Status prepared = absl::OkStatus()) : prepare(std::move(prepared)) {}
  int64_t Write() {
    const auto decide = [](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
      storage::Mutation mutation;
      Change change;
      change.organization = OrganizationRecord{.id = "acme", .created_at = state.now, .updated_at = state.now};
      change.body = EncodeBody(change, Audit());
      mutation.changes.push_back(change);
      return mutation;
    };
    storage::LockPlan plan;
    plan.organization = "acme";
    plan.lock_organization = true;
    const auto committed = memory.Commit(plan, decide);
    EXPECT_THAT(committed, testing::IsOk());
    return committed->rows.back().rev;
  }
  int64_t AppliedByOwn() {
    const auto replicas = memory.ReadReplicas();
    return replicas.ok() && replicas->size() == 1 ? replicas->front().applied_revision : -1;
  }

  const base::SystemClock clock;
  storage::MemoryKeyStore memory{[] { return absl::Now(); }};
  WatchedStore store{memory};
  KeyIndex index;
  WatchHub hub;
  LogFollower follower{store, index, hub, clock, {}};
  absl::Status prepare;
  std::atomic<int> prepared = 0;
  LeaseRenewer renewer{
      follower,
      index,
      hub,
      clock,
      {.prepare =
           [this] {
             ++prepared;
             return prepare;
           },
       .explain_refusal = [](const absl::Status&) { return absl::FailedPreconditionError("explained"); },
       .wake =
           [this] {
             renewals.Wake();
             catch_ups.Wake();
           }}};
  // As the composition root drives it.
  void Start() {
    renewals.Start([this] { return renewer.RenewIfDue(); });
    catch_ups.Start([this]() -> std::optional<base::BootTime> {
      renewer.CatchUpIfRung();
      return std::nullopt;
    });
  }
  void Stop() {
    renewals.Stop();
    catch_ups.Stop();
  }
  base::TimedLoop renewals{clock};
  base::TimedLoop catch_ups{clock};
};

TEST(LeaseRenewer, RenewsOnScheduleWithoutBeingAsked) {
  Keeping keeping;
  EXPECT_FALSE(keeping.renewer.database_answers());
  keeping.Start();
  EXPECT_TRUE(keeping.store.WaitUntil([&] { return keeping.store.renewals() >= 3; }));
  EXPECT_TRUE(keeping.renewer.database_answers());
  EXPECT_GT(keeping.index.Read().lease_until, keeping.clock.BootNow());
}

TEST(LeaseRenewer, AFeatureLevelThatThisBuildDoesNotReadIsFatal) {
  Keeping keeping;
  keeping.Start();
  ASSERT_TRUE(keeping.store.WaitUntil([&] { return keeping.renewer.database_answers(); }));
  keeping.memory.SetLevel(kNewestLevel + 1);
  EXPECT_TRUE(keeping.store.WaitUntil([&] { return !keeping.renewer.fatal().ok(); }));
  EXPECT_EQ(keeping.renewer.fatal().message(), "explained");
  EXPECT_LT(keeping.index.Read().lease_until, keeping.clock.BootNow());
}

TEST(LeaseRenewer, ADatabaseThatFailsInAWayOfItsOwnIsPreparedAnew) {
  Keeping keeping;
  keeping.Start();
  ASSERT_TRUE(keeping.store.WaitUntil([&] { return keeping.renewer.database_answers(); }));
  const int before = keeping.prepared;
  keeping.store.FailRenewals(true);
  EXPECT_TRUE(keeping.store.WaitUntil([&] { return keeping.prepared > before; }));
  keeping.store.FailRenewals(false);
  EXPECT_TRUE(keeping.store.WaitUntil([&] { return keeping.renewer.database_answers(); }));
}

TEST(LeaseRenewer, ARingMakesItReadTheLog) {
  Keeping keeping;
  keeping.Start();
  ASSERT_TRUE(keeping.store.WaitUntil([&] { return keeping.renewer.database_answers(); }));
  // A renewal may be first; it never calls ReadLog.
  EXPECT_TRUE(keeping.store.WaitUntil([&] {
    keeping.renewer.Heard(keeping.Write(), false);
    return keeping.store.reads() > 0;
  }));
}

TEST(LeaseRenewer, AWaitersRingMakesItRenewUntilTheOthersCanSeeThatItIsApplied) {
  Keeping keeping;
  keeping.Start();
  ASSERT_TRUE(keeping.store.WaitUntil([&] { return keeping.renewer.database_answers(); }));
  // The schedule, one renewal a second and two for each round, does not get there in time.
  int rounds = 0;
  int64_t revision = 0;
  EXPECT_TRUE(keeping.store.WaitUntil([&] {
    if (revision == 0) revision = keeping.Write();
    keeping.renewer.Heard(revision, true);
    if (keeping.AppliedByOwn() < revision) return false;
    revision = 0;
    return ++rounds == 40;
  })) << rounds;
}

TEST(LeaseRenewer, AWaiterThatStoppedRingingIsNotRenewedForAnyMore) {
  Keeping keeping;
  keeping.Start();
  ASSERT_TRUE(keeping.store.WaitUntil([&] { return keeping.renewer.database_answers(); }));
  // A revision that will never come: a forged ring. It is good for half a second's renewals at most, 30 ms apart.
  keeping.renewer.Heard(1'000'000, true);
  const int before = keeping.store.renewals();
  const base::BootTime began = keeping.clock.BootNow();
  EXPECT_TRUE(keeping.store.WaitUntil([&] { return keeping.clock.BootNow() - began > absl::Milliseconds(1500); }));
  EXPECT_LE(keeping.store.renewals() - before, 500 / 30 + 1 + 3);
}

TEST(LeaseRenewer, ADatabaseThatCanNotBeUsedIsFatalAndOneThatIsAwayIsNot) {
  Keeping wrong(absl::FailedPreconditionError("wrong key ring"));
  wrong.Start();
  EXPECT_TRUE(wrong.store.WaitUntil([&] { return !wrong.renewer.fatal().ok(); }));
  EXPECT_EQ(wrong.renewer.fatal().message(), "wrong key ring");
  Keeping away(absl::UnavailableError("away"));
  away.Start();
  away.renewer.Heard(1, true);
  away.Stop();
  EXPECT_THAT(away.renewer.fatal(), testing::IsOk());
  EXPECT_EQ(away.store.renewals(), 0);
}

TEST(LeaseRenewer, AnotherHistoryIsFatalWithTheOperatorsLine) {
  Keeping keeping;
  keeping.follower.RequireHistory({5, std::string(32, 'x')});
  keeping.Start();
  EXPECT_TRUE(keeping.store.WaitUntil([&] { return !keeping.renewer.fatal().ok(); }));
  EXPECT_EQ(keeping.renewer.fatal().message(), "explained");
}

}  // namespace
}  // namespace latchkey::keys
