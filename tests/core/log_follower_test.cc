#include "server/keys/log_follower.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

#include "tests/support/forwarding_store.h"
#include "tests/support/memory_service.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using core::Decision;
using testing::HasReason;
using testing::IsOk;
using testing::MemoryService;

// A second server on the same store.
struct Replica {
  explicit Replica(MemoryService& service, LogFollower::Options options = {.replica = "another"})
      : follower(service.store, index, hub, service.clock, options),
        prover(service.store, index, service.ring, service.hashes, service.clock, {}),
        verifier(index, service.ring, prover, service.clock) {}
  absl::StatusOr<Verdict> Verify(std::string_view text) {
    return verifier.Verify({.key_string = text, .asker_organization = "system"}, absl::InfiniteDuration());
  }
  KeyIndex index;
  WatchHub hub;
  LogFollower follower;
  Prover prover;
  KeyVerifier verifier;
};

TEST(LogFollower, BeforeTheFirstPollNothingIsAnswered) {
  MemoryService service;
  Replica replica(service);
  EXPECT_THAT(replica.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  EXPECT_EQ(replica.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
}

TEST(LogFollower, AReplicaSeesAnothersDeleteAtItsNextPollAndRefusesWithinTheBoundIfItCanNotPoll) {
  MemoryService service;
  Replica replica(service);
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  ASSERT_EQ(replica.Verify(issued.key_string.Expose())->decision, Decision::kAllowed);

  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", issued.key.kid}), IsOk());
  EXPECT_EQ(replica.Verify(issued.key_string.Expose())->decision, Decision::kAllowed);  // Within L: its lease is old.
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  EXPECT_EQ(replica.Verify(issued.key_string.Expose())->decision, Decision::kRevoked);

  const IssuedKey second = service.MustCreate(service.acme_owner, "acme", "editor");
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", second.key.kid}), IsOk());
  service.store.SetUnavailable(true);
  service.Advance(absl::Seconds(5));
  EXPECT_THAT(replica.follower.Renew(), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(replica.Verify(second.key_string.Expose()), HasReason("LEASE_EXPIRED"));
}

// Delays the answer of every renewal, as a slow network does.
class SlowStore final : public testing::ForwardingStore {
 public:
  SlowStore(MemoryService& service, absl::Duration delay)
      : ForwardingStore(service.store), service_(service), delay_(delay) {}
  absl::StatusOr<storage::LogPage> RenewLease(const storage::Beat& beat, int64_t cursor, int limit) override {
    auto page = behind().RenewLease(beat, cursor, limit);
    service_.Advance(delay_);
    return page;
  }

 private:
  MemoryService& service_;
  const absl::Duration delay_;
};

TEST(LogFollower, TheLeaseCountsFromWhenThePollWasSentNotFromItsAnswer) {
  MemoryService service;
  SlowStore slow(service, absl::Seconds(4));
  KeyIndex index;
  WatchHub hub;
  LogFollower follower(slow, index, hub, service.clock, {.replica = "slow"});
  ASSERT_THAT(follower.Renew(), IsOk());  // The snapshot.
  const base::BootTime sent_at = service.clock.BootNow();
  ASSERT_THAT(follower.Renew(), IsOk());
  EXPECT_EQ(index.Read().lease_until, sent_at + absl::Seconds(5));
  EXPECT_EQ(service.clock.BootNow(), sent_at + absl::Seconds(4));
}

TEST(LogFollower, OnlyThePollThatReachesTheHeadExtendsTheLease) {
  MemoryService service;
  SlowStore slow(service, absl::Seconds(1));
  KeyIndex index;
  WatchHub hub;
  LogFollower follower(slow, index, hub, service.clock, {.replica = "slow", .page = 2});
  ASSERT_THAT(follower.Renew(), IsOk());
  for (int i = 0; i < 3; ++i) service.MustCreate(service.acme_owner, "acme", "viewer");
  const base::BootTime began = service.clock.BootNow();
  ASSERT_THAT(follower.Renew(), IsOk());  // Pages of one new row each: three reads, the last one reaches the head.
  EXPECT_EQ(index.position().rev, service.index.position().rev);
  EXPECT_EQ(index.Read().lease_until, began + absl::Seconds(2) + absl::Seconds(5));
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
  service.MustCreate(service.acme_owner, "acme", "editor");
  // The other server's own write arrives while it has not seen the row before it and can't ask for it.
  const auto page = service.store.ReadLog(service.index.position().rev, 2);
  LogRow own = page->rows.back();
  own.rev += 1;
  service.store.SetUnavailable(true);
  other.follower.Deliver({own});
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  service.store.SetUnavailable(false);
  ASSERT_THAT(other.follower.Renew(), IsOk());  // Reaches the head, but not yet the row that was delivered.
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  service.MustCreate(service.acme_owner, "acme", "editor");
  ASSERT_THAT(other.follower.Renew(), IsOk());
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

TEST(LogFollower, ReadingAloneGrantsNoLease) {
  MemoryService service;
  const base::BootTime lease = service.index.Read().lease_until;
  service.Advance(absl::Seconds(1));
  ASSERT_THAT(service.follower.CatchUp(service.clock.BootNow() + absl::Seconds(1)), IsOk());
  EXPECT_EQ(service.index.Read().lease_until, lease);
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.index.Read().lease_until, lease + absl::Seconds(1));
}

TEST(LogFollower, ACatchUpShowsWhatOthersHaveCommitted) {
  MemoryService service;
  Replica replica(service);
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(replica.Verify(issued.key_string.Expose())->decision, Decision::kNotFound);
  ASSERT_THAT(replica.follower.CatchUp(service.clock.BootNow() + absl::Seconds(1)), IsOk());
  EXPECT_EQ(replica.Verify(issued.key_string.Expose())->decision, Decision::kAllowed);
}

TEST(LogFollower, AForgottenReplicaHasNoLeaseUntilItsRowIsMadeAnew) {
  MemoryService service;
  service.store.ForgetReplicas();
  EXPECT_THAT(service.follower.Renew(), HasReason("REPLICA_FORGOTTEN"));
  EXPECT_THAT(service.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.MustVerify(service.acme_owner_string.Expose()), Decision::kAllowed);
}

TEST(LogFollower, TheBoundIsWhatTheRenewalsSnapshotSays) {
  MemoryService service;
  service.SetBound(absl::Seconds(20));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.index.Read().lease_until, service.clock.BootNow() + absl::Seconds(20));
  EXPECT_EQ(service.follower.bound(), absl::Seconds(20));
  EXPECT_EQ(service.follower.renewal_interval(), absl::Seconds(1));
}

TEST(LogFollower, AfterLoweringTheBoundTheOldOneIsPromisedUntilItsLeasesAreOver) {
  MemoryService service;
  service.SetBound(absl::Seconds(20));
  service.SetBound(absl::Seconds(2));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.follower.bound(), absl::Seconds(2));
  EXPECT_EQ(service.follower.promised_bound(), absl::Seconds(20));
  service.Advance(core::WithClockError(absl::Seconds(20)) - absl::Milliseconds(1));
  EXPECT_EQ(service.follower.promised_bound(), absl::Seconds(20));
  service.Advance(absl::Milliseconds(1));
  EXPECT_EQ(service.follower.promised_bound(), absl::Seconds(2));
  EXPECT_EQ(service.follower.renewal_interval(), absl::Milliseconds(400));
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
  EXPECT_TRUE(LogFollower::IsHistoryRefused(refused)) << refused;
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  EXPECT_FALSE(LogFollower::IsHistoryRefused(errors::LeaseExpired()));
}

TEST(LogFollower, ATokenOfThisHistoryIsReachedAndOneOfAnotherIsUnknown) {
  MemoryService service;
  Replica replica(service);
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  const base::BootTime deadline = service.clock.BootNow() + absl::Seconds(1);
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(replica.follower.StandingOf(issued.revision), LogFollower::Standing::kAhead);
  EXPECT_THAT(replica.follower.Await(issued.revision, deadline), IsOk());
  EXPECT_EQ(replica.follower.StandingOf(issued.revision), LogFollower::Standing::kApplied);

  core::RevisionToken other = issued.revision;
  other.chain[0] ^= 1;
  EXPECT_THAT(replica.follower.Await(other, deadline), HasReason("REVISION_UNKNOWN"));
  core::RevisionToken ahead = issued.revision;
  ahead.revision += 1;
  EXPECT_THAT(replica.follower.Await(ahead, deadline), HasReason("REVISION_NOT_REACHED"));
  // Older than what this server has followed itself: the database is asked.
  const auto first = service.store.ReadChain(1);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(replica.follower.StandingOf(core::RevisionToken::Of(1, **first)), LogFollower::Standing::kOld);
  EXPECT_THAT(replica.follower.Await(core::RevisionToken::Of(1, **first), deadline), IsOk());
  EXPECT_THAT(replica.follower.Await(core::RevisionToken::Of(1, std::string(32, 'x')), deadline),
              HasReason("REVISION_UNKNOWN"));
}

TEST(LogFollower, TellsTheOthersOnceOwnRowsAreDelivered) {
  MemoryService service;
  std::vector<int64_t> rung;
  service.follower.OnDelivered([&rung](int64_t revision) { rung.push_back(revision); });
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(rung, std::vector<int64_t>{issued.key.revision});
}

TEST(ChangeCodec, ReadsBackEveryKindOfRecord) {
  KeyRecord key{.organization = "acme",
                .kid = "0123456789abcdef",
                .display_name = "Zażółć 🔑",
                .description = "a\nb",
                .role = "editor",
                .owner = "o",
                .labels = {{"a", "b"}},
                .key_hint = "lk1_0123…",
                .creator = "bootstrap",
                .created_at = absl::FromUnixMicros(1),
                .updated_at = absl::FromUnixMicros(2),
                .delete_reason = DeleteReason::kCompromised,
                .versions = {SecretVersion{1, absl::FromUnixMicros(1), Never()}},
                .revision = 7};
  Change change;
  change.key = key;
  LogRow row{7, absl::FromUnixMicros(3), EncodeBody(change, Audit{"p", "peer", "m", "r", "s"}), ""};
  auto decoded = DecodeBody(row);
  ASSERT_THAT(decoded, IsOk());
  EXPECT_EQ(*decoded->key, key);
  Change role;
  role.role = RoleRecord{.organization = "acme", .id = "x", .permissions = {"a.b"}, .removed = true, .revision = 7};
  row.body = EncodeBody(role, Audit());
  decoded = DecodeBody(row);
  ASSERT_THAT(decoded, IsOk());
  EXPECT_EQ(decoded->role->permissions, role.role->permissions);
  EXPECT_TRUE(decoded->role->removed);
}

TEST(ChangeCodec, StopsAtABodyItDoesNotKnow) {
  for (const char* body : {"", "{", "{}", "{\"v\":2,\"key\":{}}", "{\"v\":1}", "{\"v\":1,\"key\":{}}", "[1]"}) {
    EXPECT_THAT(DecodeBody(LogRow{1, absl::UnixEpoch(), body, ""}), HasReason("INTERNAL")) << body;
  }
}

// Computed with Python's hashlib: sha256(32 × 00 ‖ be64(1) ‖ be64(1700000000000000) ‖ be32(2) ‖ "{}").
TEST(ChangeCodec, TheChainIsTheDocumentedHash) {
  EXPECT_EQ(
      absl::BytesToHexString(ChainOf(std::string(32, '\0'), 1, absl::FromUnixMicros(1'700'000'000'000'000), "{}")),
      "8fe864bb23ac9e843f24dc84c14a3d997cbf340a77a3b7a0340d465ce2c58bef");
}

}  // namespace
}  // namespace latchkey::keys
