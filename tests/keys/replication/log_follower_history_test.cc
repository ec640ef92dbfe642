#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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
  own.follower.Deliver({.rows = {page->rows.back()}, .history = page->history});
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

TEST(LogFollower, AHistoryThatIsOverTakesItsLeaseAlongThoughTheOtherCanNotBeLoaded) {
  class Unloadable final : public testing::ForwardingStore {
   public:
    using ForwardingStore::ForwardingStore;
    absl::StatusOr<storage::SnapshotHead> LoadSnapshot(storage::SnapshotSink& sink) override {
      if (failing) return errors::DatabaseUnavailable();
      return behind().LoadSnapshot(sink);
    }
    bool failing = false;
  };
  for (const bool renews : {true, false}) {
    MemoryService service;
    Unloadable store(service.store);
    Replica other(service, store);
    ASSERT_THAT(other.follower.Renew(), IsOk());
    service.store.ReplaceChain();
    store.failing = true;
    const absl::Status over =
        renews ? other.follower.Renew() : other.follower.CatchUp(service.clock.BootNow() + absl::Seconds(1));
    EXPECT_THAT(over, HasReason("DATABASE_UNAVAILABLE"));
    EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
    store.failing = false;
    ASSERT_THAT(other.follower.Renew(), IsOk());
    EXPECT_EQ(other.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
  }
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

// As of a database of release 0's server: it does not tell of another history by its name.
class OneHistory final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  absl::StatusOr<storage::SnapshotHead> LoadSnapshot(storage::SnapshotSink& sink) override {
    auto head = behind().LoadSnapshot(sink);
    if (head.ok()) head->history = 1;
    return head;
  }
  absl::StatusOr<storage::LogPage> ReadLog(int64_t cursor, int limit) override {
    return Same(behind().ReadLog(cursor, limit));
  }
  absl::StatusOr<storage::LogPage> RenewLease(const storage::Heartbeat& beat, int64_t cursor, int limit) override {
    return Same(behind().RenewLease(beat, cursor, limit));
  }

 private:
  static absl::StatusOr<storage::LogPage> Same(absl::StatusOr<storage::LogPage> page) {
    if (page.ok()) page->history = 1;
    return page;
  }
};

TEST(LogFollower, AnOwnRowThatAFailoverOrARestoreLostRaisesTheAlarmAndIsNotWaitedForForEver) {
  for (const bool failover : {true, false}) {
    for (const int lost : {1, 2}) {
      MemoryService service;
      OneHistory one(service.store);
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
  OneHistory one(service.store);
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
  const storage::LogPage page = service.store.ReadLog(service.index.position().rev, 2).value();
  const LogRow lost = page.rows.back();
  service.store.DropNewestRows(1);
  service.MustCreate(service.acme_owner, "acme", "viewer");
  ASSERT_THAT(other.follower.Renew(), IsOk());
  ASSERT_TRUE(other.alarms.empty()) << "it had not heard of the row that was lost";
  other.follower.Deliver({.rows = {lost}, .history = page.history},
                         {KeyProof{service.acme_owner.kid, 1, Proof{.ring_id = '1'}}});
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
  service.follower.Deliver({.rows = {other}});
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
  const core::HistoryId history = service.store.ReadLog(0, 2)->history;
  service.store.SetUnavailable(true);
  other.follower.Deliver({.rows = {forged}, .history = history});
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
  service.MustCreate(service.acme_owner, "acme", "viewer");  // The lost one's place is taken.
  const core::HistoryId history = behind.index.Read().history;
  ASSERT_THAT(behind.follower.Renew(), IsOk());
  EXPECT_THAT(before->stream->ended(), HasReason("WATCH_ENDED"));
  EXPECT_EQ(alarms, 0);
  EXPECT_NE(behind.index.Read().history, history);
  // Its place is one in this history, but the client may hold answers of the lost row.
  const auto after = behind.hub.Subscribe({}, at, [] {});
  ASSERT_THAT(after, IsOk());
  EXPECT_FALSE(after->resumed);
  EXPECT_EQ(after->from.revision, at.revision + 1);
  ASSERT_THAT(behind.follower.Renew(), IsOk());
  EXPECT_THAT(after->stream->ended(), IsOk());
  EXPECT_TRUE(behind.hub.Subscribe({}, after->from, [] {})->resumed);
}

TEST(LogFollower, AfterAFailoverStreamsBeginAtTheHeadThatWasReadFirst) {
  MemoryService service;
  Replica paging(service, {.replica = "another", .page = 2});
  ASSERT_THAT(paging.follower.Renew(), IsOk());
  const core::RevisionToken before = paging.hub.position();
  for (int i = 0; i < 4; ++i) service.MustCreate(service.acme_owner, "acme", "editor");
  service.store.DropNewestRows(0);
  ASSERT_THAT(paging.follower.Renew(), IsOk());
  EXPECT_EQ(paging.hub.position().revision, before.revision + 4);
  for (int64_t at = before.revision; at < before.revision + 4; ++at) {
    const auto token = core::RevisionToken::Of(at, service.store.ReadChain(at)->value());
    EXPECT_FALSE(paging.hub.Subscribe({}, token, [] {})->resumed) << at;
  }
  EXPECT_TRUE(paging.hub.Subscribe({}, paging.hub.position(), [] {})->resumed);
}

TEST(LogFollower, ARestartOfTheDatabaseIsAFailover) {
  MemoryService service;
  const auto open = service.hub.Subscribe({}, {}, [] {});
  ASSERT_THAT(open, IsOk());
  const core::HistoryId history = service.index.Read().history;
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_THAT(open->stream->ended(), IsOk());
  EXPECT_EQ(service.index.Read().history, history);
  service.store.Restart();
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_THAT(open->stream->ended(), HasReason("WATCH_ENDED"));
  EXPECT_NE(service.index.Read().history, history);
}

// It committed on the new primary before its follower had read there.
TEST(LogFollower, OwnRowsOfAHistoryThatWasNotMetComeByTheLog) {
  for (const bool known : {true, false}) {
    MemoryService service;
    Replica other(service);
    ASSERT_THAT(other.follower.Renew(), IsOk());
    service.store.DropNewestRows(0);
    service.MustCreate(service.acme_owner, "acme", "editor");
    const storage::LogPage page = service.store.ReadLog(other.index.position().rev, 2).value();
    const auto open = other.hub.Subscribe({}, {}, [] {});
    ASSERT_THAT(open, IsOk());
    other.follower.Deliver({.rows = {page.rows.back()}, .history = known ? page.history : core::kNoHistory});
    EXPECT_THAT(open->stream->Take(10), ::testing::IsEmpty()) << "a client would count it in the history before";
    EXPECT_THAT(open->stream->ended(), HasReason("WATCH_ENDED"));
    EXPECT_EQ(other.index.position().rev, page.rows.back().rev);
    EXPECT_EQ(other.index.Read().history, page.history);
  }
}

TEST(LogFollower, ARenewalIsNotCountedInALogThatLacksTheFollowedRow) {
  MemoryService service;
  Replica other(service);
  ASSERT_THAT(other.follower.Renew(), IsOk());
  const auto row_of = [&service](const std::string& id) {
    const auto replicas = service.store.ReadReplicas().value();
    return *std::find_if(replicas.begin(), replicas.end(), [&id](const auto& row) { return row.id == id; });
  };
  service.MustCreate(service.acme_owner, "acme", "editor");
  ASSERT_THAT(other.follower.Renew(), IsOk());
  service.store.DropNewestRows(1);
  const storage::Replica before = row_of("another");
  // It is met, and the view of the new history renewed: one beat, and nothing of the lost row.
  ASSERT_THAT(other.follower.Renew(), IsOk());
  EXPECT_EQ(row_of("another").beat, before.beat + 1);
  EXPECT_EQ(row_of("another").applied_revision, service.store.ReadLog(0, 2)->head);
  EXPECT_EQ(other.alarms.size(), 1u);
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
