#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/keys/replication/log_follower.h"
#include "tests/keys/replication/replica.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/status_matchers.h"

// Histories that were rewritten, and own rows that are not in them.
namespace latchkey::keys {
namespace {

using core::Decision;
using testing::HasReason;
using testing::IsOk;
using testing::MemoryService;

// Commits two rows of which the newer is `own`'s, just as the database goes away: it can't read the one between, so it
// has no lease, and the row that it committed still to see.
LogRow CommitUnread(MemoryService& service, Replica& own) {
  for (int i = 0; i < 2; ++i) service.MustCreate(service.acme_owner, "acme", "editor");
  const auto page = service.store.ReadLog(service.index.position().rev, 2);
  service.store.SetUnavailable(true);
  own.follower.Deliver({page->rows.back()});
  service.store.SetUnavailable(false);
  EXPECT_THAT(own.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  return page->rows.back();
}

TEST(LogFollower, ARewrittenHistoryEndsTheLeaseRaisesTheAlarmAndIsLoadedAnew) {
  MemoryService service;
  const IssuedKey kept = service.MustCreate(service.acme_owner, "acme", "editor");
  const IssuedKey lost = service.MustCreate(service.acme_owner, "acme", "editor");
  std::vector<std::string> alarms;
  service.follower.OnHistoryRewritten([&alarms](const std::string& what) { alarms.push_back(what); });
  service.store.DropNewestRows(1);
  service.MustCreate(service.acme_owner, "acme", "viewer");  // The same revision, another history.
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(alarms.size(), 1u);
  EXPECT_EQ(service.MustVerify(kept.key_string.Expose()), Decision::kAllowed);
  EXPECT_EQ(service.MustVerify(lost.key_string.Expose()), Decision::kNotFound);
}

TEST(LogFollower, ADatabaseWithAnotherIdentityIsNotFollowedAsIfItWereTheSame) {
  MemoryService service;
  int alarms = 0;
  service.follower.OnHistoryRewritten([&alarms](const std::string&) { ++alarms; });
  service.store.ReplaceChain();
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(alarms, 1);
}

TEST(LogFollower, OwnRowsThatCanNotBeFollowedEndTheLeaseUntilAPollHasPassedThem) {
  MemoryService service;
  Replica other(service);
  ASSERT_THAT(other.follower.Renew(), IsOk());
  const LogRow own = CommitUnread(service, other);
  ASSERT_THAT(other.follower.CatchUp(service.clock.BootNow() + absl::Seconds(1)), IsOk());
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED")) << "that was no renewal";
  ASSERT_THAT(other.follower.Renew(), IsOk());
  EXPECT_EQ(other.index.position().rev, own.rev);
  EXPECT_EQ(other.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
  EXPECT_TRUE(other.alarms.empty());
}

// As of a database whose files were put back as they were: its timeline stays.
class OneTimeline final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  absl::StatusOr<storage::LogPage> ReadLog(int64_t cursor, int limit) override {
    return Same(behind().ReadLog(cursor, limit));
  }
  absl::StatusOr<storage::LogPage> RenewLease(const storage::Heartbeat& beat, int64_t cursor, int limit) override {
    return Same(behind().RenewLease(beat, cursor, limit));
  }

 private:
  static absl::StatusOr<storage::LogPage> Same(absl::StatusOr<storage::LogPage> page) {
    if (page.ok()) page->timeline = 1;
    return page;
  }
};

TEST(LogFollower, AnOwnRowThatAFailoverOrARestoreLostRaisesTheAlarmAndIsNotWaitedForForEver) {
  for (const bool failover : {true, false}) {
    for (const int lost : {1, 2}) {
      MemoryService service;
      OneTimeline one(service.store);
      Replica other(service, failover ? static_cast<storage::KeyStore&>(service.store) : one);
      ASSERT_THAT(other.follower.Renew(), IsOk());
      const LogRow own = CommitUnread(service, other);
      service.store.DropNewestRows(lost);  // The row that was followed last survives.
      const auto open = other.hub.Subscribe({}, {}, [] {});
      ASSERT_THAT(open, IsOk());
      ASSERT_THAT(other.follower.Renew(), IsOk());
      EXPECT_EQ(other.index.position().rev, own.rev - lost);
      EXPECT_EQ(other.alarms.size(), 1u) << failover << lost;
      EXPECT_THAT(open->stream->ended(), HasReason("WATCH_ENDED"));
      const auto verdict = other.Verify(service.acme_owner_string.Expose());
      ASSERT_THAT(verdict, IsOk()) << failover << lost;
      EXPECT_EQ(verdict->decision, Decision::kAllowed);
      ASSERT_THAT(other.follower.Renew(), IsOk());
      EXPECT_EQ(other.alarms.size(), 1u);
    }
  }
}

TEST(LogFollower, AnOwnRowWhosePlaceAnotherTookRaisesTheAlarm) {
  MemoryService service;
  OneTimeline one(service.store);
  Replica other(service, one);
  ASSERT_THAT(other.follower.Renew(), IsOk());
  const LogRow own = CommitUnread(service, other);
  service.store.DropNewestRows(1);
  for (int i = 0; i < 3; ++i) service.MustCreate(service.acme_owner, "acme", "viewer");
  ASSERT_THAT(other.follower.Renew(), IsOk());
  EXPECT_EQ(other.alarms.size(), 1u);
  EXPECT_EQ(other.index.position().rev, own.rev + 2);
  EXPECT_EQ(other.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
}

TEST(LogFollower, AnOwnRowThatIsDeliveredAfterAnotherTookItsPlaceRaisesTheAlarmAndItsProofIsNotBelieved) {
  MemoryService service;
  Replica other(service);
  ASSERT_THAT(other.follower.Renew(), IsOk());
  service.MustCreate(service.acme_owner, "acme", "editor");
  const LogRow lost = service.store.ReadLog(service.index.position().rev, 2)->rows.back();
  service.store.DropNewestRows(1);
  service.MustCreate(service.acme_owner, "acme", "viewer");
  ASSERT_THAT(other.follower.Renew(), IsOk());
  ASSERT_TRUE(other.alarms.empty()) << "it had not heard of the row that was lost";
  other.follower.Deliver({lost}, {KeyProof{service.acme_owner.kid, 1, Proof{.ring_id = '1'}}});
  EXPECT_EQ(other.alarms.size(), 1u);
  EXPECT_EQ(other.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
}

TEST(LogFollower, AnOwnRowThatContradictsWhatWasFollowedMakesTheFollowerLook) {
  MemoryService service;
  std::vector<std::string> alarms;
  service.follower.OnHistoryRewritten([&alarms](const std::string& what) { alarms.push_back(what); });
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  service.MustCreate(service.acme_owner, "acme", "editor");
  service.store.DropNewestRows(1);
  const IssuedKey own = service.MustCreate(service.acme_owner, "acme", "viewer");  // The revision of a followed row.
  EXPECT_EQ(alarms.size(), 1u);
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.MustVerify(own.key_string.Expose()), Decision::kAllowed);

  LogRow other = service.store.ReadLog(service.index.position().rev, 2)->rows.back();
  other.chain[0] ^= 1;
  service.store.SetUnavailable(true);
  service.follower.Deliver({other});
  EXPECT_THAT(service.Verify(issued.key_string.Expose()), HasReason("LEASE_EXPIRED")) << "it can't look";
  service.store.SetUnavailable(false);
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose()), Decision::kAllowed);
  EXPECT_EQ(alarms.size(), 1u);
}

TEST(LogFollower, AReadingThatEndsBelowAnOwnRowIsNoProofThatItIsLost) {
  // Reads from elsewhere than it writes.
  class Lagging final : public testing::ForwardingStore {
   public:
    using ForwardingStore::ForwardingStore;
    absl::StatusOr<storage::LogPage> ReadLog(int64_t cursor, int) override {
      auto page = behind().ReadLog(cursor, 2);
      if (page.ok()) {
        page->rows.resize(1);
        page->head = cursor;
      }
      return page;
    }
  };
  MemoryService service;
  Lagging lagging(service.store);
  Replica other(service, lagging);
  ASSERT_THAT(other.follower.Renew(), IsOk());
  CommitUnread(service, other);
  ASSERT_THAT(other.follower.CatchUp(service.clock.BootNow() + absl::Seconds(1)), IsOk());
  EXPECT_TRUE(other.alarms.empty());
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  ASSERT_THAT(other.follower.Renew(), IsOk());
  EXPECT_TRUE(other.alarms.empty());
  EXPECT_EQ(other.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
}

TEST(LogFollower, APrunedLogDoesNotHideThatAnOwnRowIsLost) {
  MemoryService service;
  Replica other(service);
  ASSERT_THAT(other.follower.Renew(), IsOk());
  const LogRow own = CommitUnread(service, other);
  service.store.DropNewestRows(1);
  service.store.ForgetRowsBelow(own.rev - 1);
  ASSERT_THAT(other.follower.Renew(), IsOk());
  EXPECT_EQ(other.alarms.size(), 1u);
  EXPECT_EQ(other.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
}

TEST(LogFollower, ARowThatBreaksTheChainStopsEveryAnswer) {
  MemoryService service;
  Replica other(service);
  ASSERT_THAT(other.follower.Renew(), IsOk());
  LogRow forged;
  forged.rev = other.index.position().rev + 1;
  forged.at = service.now;
  forged.body = "{}";
  forged.chain = std::string(32, 'x');
  service.store.SetUnavailable(true);
  other.follower.Deliver({forged});
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
}

TEST(LogFollower, ARewrittenHistoryEndsEveryStreamBeforeThereIsALease) {
  MemoryService service;
  const auto before = service.hub.Subscribe({}, {}, [] {});
  ASSERT_THAT(before, IsOk());
  service.MustCreate(service.acme_owner, "acme", "editor");
  service.store.DropNewestRows(1);
  // The moment the lease returns, no stream of before may be open to carry it.
  class Watching final : public testing::ForwardingStore {
   public:
    Watching(storage::KeyStore& behind, const WatchHub::Stream& stream) : ForwardingStore(behind), stream_(stream) {}
    absl::StatusOr<storage::SnapshotHead> LoadSnapshot(storage::SnapshotSink& sink) override {
      ended_before_the_load = !stream_.ended().ok();
      return behind().LoadSnapshot(sink);
    }
    bool ended_before_the_load = false;

   private:
    const WatchHub::Stream& stream_;
  };
  Watching watching(service.store, *before->stream);
  LogFollower follower(watching, service.index, service.hub, service.clock, {.replica = "again"});
  // The same index and hub under a follower that has loaded: its next renewal meets the rewrite.
  ASSERT_THAT(follower.Renew(), IsOk());
  service.store.ReplaceChain();
  const auto open = service.hub.Subscribe({}, {}, [] {});
  ASSERT_THAT(open, IsOk());
  ASSERT_THAT(follower.Renew(), IsOk());
  EXPECT_TRUE(watching.ended_before_the_load);
  EXPECT_THAT(open->stream->ended(), HasReason("WATCH_ENDED"));
}

TEST(LogFollower, AFailoverEndsTheStreamsAlsoWhereTheRowsThatWereFollowedSurvivedIt) {
  MemoryService service;
  Replica behind(service);
  ASSERT_THAT(behind.follower.Renew(), IsOk());
  const auto before = behind.hub.Subscribe({}, {}, [] {});
  ASSERT_THAT(before, IsOk());
  const core::RevisionToken at = behind.hub.position();
  service.MustCreate(service.acme_owner, "acme", "editor");
  service.store.DropNewestRows(1);  // The other server has not seen it.
  int alarms = 0;
  behind.follower.OnHistoryRewritten([&alarms](const std::string&) { ++alarms; });
  ASSERT_THAT(behind.follower.Renew(), IsOk());
  EXPECT_THAT(before->stream->ended(), HasReason("WATCH_ENDED"));
  EXPECT_EQ(alarms, 0);
  // Where it ended is a place in this history: it may go on from there.
  const auto after = behind.hub.Subscribe({}, at, [] {});
  ASSERT_THAT(after, IsOk());
  EXPECT_TRUE(after->resumed);
  ASSERT_THAT(behind.follower.Renew(), IsOk());
  EXPECT_THAT(after->stream->ended(), IsOk());
}

TEST(LogFollower, RefusesADatabaseThatLacksTheHistoryItMustContinue) {
  MemoryService service;
  const LogPosition followed = service.index.position();
  service.MustCreate(service.acme_owner, "acme", "editor");
  {
    Replica same(service);
    same.follower.RequireHistory(followed);
    EXPECT_THAT(same.follower.Renew(), IsOk());
  }
  service.store.ReplaceChain();
  Replica other(service);
  other.follower.RequireHistory(followed);
  const absl::Status refused = other.follower.Renew();
  EXPECT_EQ(errors::ReasonOf(refused), errors::Reason::kHistoryRefused) << refused;
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
}

TEST(LogFollower, TellsTheOthersOnceOwnRowsAreDelivered) {
  MemoryService service;
  std::vector<int64_t> rung;
  service.follower.OnDelivered([&rung](int64_t revision) { rung.push_back(revision); });
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(rung, std::vector<int64_t>{issued.key.revision});
}

}  // namespace
}  // namespace latchkey::keys
