#include "server/keys/replication/log_follower.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/keys/replication/replica.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using core::Decision;
using testing::HasReason;
using testing::IsOk;
using testing::MemoryService;

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
  absl::StatusOr<storage::LogPage> RenewLease(const storage::Heartbeat& beat, int64_t cursor, int limit) override {
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

TEST(LogFollower, AFeatureLevelThatThisBuildDoesNotReadEndsTheLease) {
  MemoryService service;
  ASSERT_THAT(service.follower.Renew(), IsOk());
  service.store.SetLevel(kNewestLevel + 1);
  EXPECT_THAT(service.follower.CatchUp(service.clock.BootNow() + absl::Hours(1)), HasReason("LEVEL_UNREADABLE"));
  EXPECT_EQ(service.index.Read().lease_until, base::BootTime::Never());
  // Whoever raised the level has forgotten it.
  EXPECT_THAT(service.follower.Renew(), HasReason("REPLICA_FORGOTTEN"));
  EXPECT_THAT(service.follower.Renew(), HasReason("LEVEL_UNREADABLE"));
  Replica fresh(service);
  EXPECT_THAT(fresh.follower.Renew(), HasReason("LEVEL_UNREADABLE"));
  EXPECT_FALSE(fresh.follower.loaded());
  // The installation's may be the one before.
  service.store.SetLevel(kOldestLevel);
  EXPECT_THAT(service.follower.Renew(), IsOk());
  EXPECT_THAT(fresh.follower.Renew(), IsOk());
}

TEST(LogFollower, TheOldBoundIsPromisedFromWhenItsEndWasSeenWhateverTheDatabasesClockSays) {
  const auto set = [](MemoryService& service, int bound, int previous, absl::Duration ago) {
    service.Put("system", [&](const storage::LockedState& state) {
      Change change;
      change.settings = Settings{
          .bound = absl::Seconds(bound), .previous_bound = absl::Seconds(previous), .changed_at = state.now - ago};
      return change;
    });
  };
  const absl::Duration over = core::WithClockError(absl::Seconds(60));
  MemoryService service;
  set(service, 60, 5, absl::Hours(48));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  // The COMMIT took an hour, and then the clock is set forward.
  set(service, 10, 60, absl::Hours(1));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  service.now += absl::Hours(48);
  service.Advance(absl::Seconds(20));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.follower.promised_bound(), absl::Seconds(60));
  // Whoever lowers it once more need not know of the first.
  set(service, 5, 10, absl::ZeroDuration());
  ASSERT_THAT(service.follower.Renew(), IsOk());
  service.Advance(over - absl::Seconds(20) - absl::Milliseconds(1));
  EXPECT_EQ(service.follower.promised_bound(), absl::Seconds(60));
  service.Advance(absl::Milliseconds(1));
  EXPECT_EQ(service.follower.promised_bound(), absl::Seconds(5));

  // A server that starts can't know how long ago it was.
  set(service, 2, 60, absl::Hours(24 * 365));
  Replica fresh(service);
  ASSERT_THAT(fresh.follower.Renew(), IsOk());
  EXPECT_EQ(fresh.follower.promised_bound(), absl::Seconds(60));
  service.Advance(over);
  EXPECT_EQ(fresh.follower.promised_bound(), absl::Seconds(2));
}

TEST(LogFollower, TheOldBoundCountsFromTheAnswerThatShowedItsEndNotFromTheQuestion) {
  MemoryService service;
  SlowStore slow(service, absl::Seconds(4));
  KeyIndex index;
  WatchHub hub;
  LogFollower follower(slow, index, hub, service.clock, {.replica = "slow"});
  service.SetBound(absl::Seconds(20));
  ASSERT_THAT(follower.Renew(), IsOk());
  service.SetBound(absl::Seconds(2));
  ASSERT_THAT(follower.Renew(), IsOk());
  service.Advance(core::WithClockError(absl::Seconds(20)) - absl::Milliseconds(1));
  EXPECT_EQ(follower.promised_bound(), absl::Seconds(20));
  service.Advance(absl::Milliseconds(1));
  EXPECT_EQ(follower.promised_bound(), absl::Seconds(2));
}

TEST(LogFollower, ALongerBoundOfAnotherHistoryIsPromisedUntilItsLeasesAreOver) {
  MemoryService service;
  service.SetBound(absl::Seconds(20));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  service.store.DropNewestRows(1);
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.follower.bound(), absl::Seconds(5));
  EXPECT_EQ(service.follower.promised_bound(), absl::Seconds(20));
  service.Advance(core::WithClockError(absl::Seconds(20)));
  EXPECT_EQ(service.follower.promised_bound(), absl::Seconds(5));
}

TEST(LogFollower, WhatHasEndedStaysSoWhenTheDatabasesClockIsSetBack) {
  MemoryService service;
  const IssuedKey issued =
      service.MustCreate(service.acme_owner, "acme", "editor", {.at = {}, .ttl = absl::Minutes(10)});
  service.Advance(absl::Minutes(10));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  ASSERT_EQ(service.MustVerify(issued.key_string.Expose()), Decision::kExpired);
  service.now -= absl::Hours(1);
  service.Advance(absl::Seconds(1));
  ASSERT_THAT(service.follower.Renew(), IsOk());
  EXPECT_EQ(service.MustVerify(issued.key_string.Expose()), Decision::kExpired);
}

TEST(LogFollower, ASlowRenewalsTimeIsNotTakenBackByAFasterOne) {
  MemoryService service;
  SlowStore slow(service, absl::Seconds(4));
  KeyIndex index;
  WatchHub hub;
  LogFollower follower(slow, index, hub, service.clock, {.replica = "slow"});
  ASSERT_THAT(follower.Renew(), IsOk());
  const absl::Time shown = index.Read().DatabaseTimeAt(service.clock.BootNow());
  service.now -= absl::Seconds(2);
  ASSERT_THAT(follower.Renew(), IsOk());
  // Readers saw the earlier sample until the answer came.
  EXPECT_GE(index.Read().DatabaseTimeAt(service.clock.BootNow()), shown + absl::Seconds(4));
}

TEST(LogFollower, ATokenOfThisHistoryIsReachedAndOneOfAnotherIsUnknown) {
  MemoryService service;
  Replica replica(service);
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  const base::BootTime deadline = service.clock.BootNow() + absl::Seconds(1);
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  EXPECT_EQ(replica.follower.StatusOf(issued.revision), RevisionStatus::kAhead);
  EXPECT_THAT(replica.follower.Await(issued.revision, deadline), IsOk());
  EXPECT_EQ(replica.follower.StatusOf(issued.revision), RevisionStatus::kApplied);

  core::RevisionToken other = issued.revision;
  other.chain[0] ^= 1;
  EXPECT_THAT(replica.follower.Await(other, deadline), HasReason("REVISION_UNKNOWN"));
  core::RevisionToken ahead = issued.revision;
  ahead.revision += 1;
  EXPECT_THAT(replica.follower.Await(ahead, deadline), HasReason("REVISION_NOT_REACHED"));
  // Older than what this server has followed itself: the database is asked.
  const auto first = service.store.ReadChain(1);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(replica.follower.StatusOf(core::RevisionToken::Of(1, **first)), RevisionStatus::kOld);
  EXPECT_THAT(replica.follower.Await(core::RevisionToken::Of(1, std::string(32, 'x')), deadline),
              HasReason("REVISION_UNKNOWN"));
  EXPECT_THAT(replica.follower.Await(core::RevisionToken::Of(1, **first), deadline), IsOk());
}

TEST(LogFollower, AnOldTokenIsConfirmedByTheDatabaseOnceInAHistory) {
  MemoryService service;
  const auto first = service.store.ReadChain(1);
  ASSERT_THAT(first, IsOk());
  const core::RevisionToken token = core::RevisionToken::Of(1, **first);
  const core::RevisionToken foreign = core::RevisionToken::Of(1, std::string(32, 'x'));
  Replica replica(service);
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  const base::BootTime deadline = service.clock.BootNow() + absl::Seconds(1);
  ASSERT_THAT(replica.follower.Await(token, deadline), IsOk());
  service.store.SetUnavailable(true);
  EXPECT_EQ(replica.follower.StatusOf(token), RevisionStatus::kApplied);
  EXPECT_THAT(replica.follower.Await(token, deadline), IsOk());
  EXPECT_EQ(replica.follower.StatusOf(foreign), RevisionStatus::kUnknown);
  service.store.SetUnavailable(false);
  service.store.ReplaceChain();
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  EXPECT_EQ(replica.follower.StatusOf(token), RevisionStatus::kOld);
  EXPECT_THAT(replica.follower.Await(token, deadline), HasReason("REVISION_UNKNOWN"));
}

TEST(LogFollower, ATokenConfirmedByAHistoryThatEndsMeanwhileIsNotRemembered) {
  // The history changes just as the answer is on its way.
  class Changing final : public testing::ForwardingStore {
   public:
    using ForwardingStore::ForwardingStore;
    absl::StatusOr<std::optional<std::string>> ReadChain(int64_t revision) override {
      auto chain = behind().ReadChain(revision);
      meanwhile();
      return chain;
    }
    std::function<void()> meanwhile = [] {};
  };
  MemoryService service;
  Changing changing(service.store);
  Replica replica(service, changing);
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  const auto first = service.store.ReadChain(1);
  const core::RevisionToken token = core::RevisionToken::Of(1, **first);
  changing.meanwhile = [&] {
    service.store.ReplaceChain();
    ASSERT_THAT(replica.follower.Renew(), IsOk());
  };
  EXPECT_THAT(replica.follower.Await(token, service.clock.BootNow() + absl::Seconds(1)), IsOk());
  EXPECT_EQ(replica.follower.StatusOf(token), RevisionStatus::kOld);
}

// Two servers commit, the one under test renews, catches up and is asked, all at once.
TEST(LogFollower, OnManyThreadsNothingRevokedIsAllowedAfterARenewalAndEverythingIsSeenAtTheEnd) {
  constexpr int kKeys = 60;
  constexpr int kLooks = 2'000;
  MemoryService service;
  Replica replica(service, {.replica = "another", .page = 3, .catch_up_pause = absl::ZeroDuration()});
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  KeyRegistry own(service.store, service.store, replica.index, replica.follower, service.minter, service.clock, {});
  struct Writer {
    explicit Writer(KeyRegistry& its_registry) : registry(its_registry) {}
    KeyRegistry& registry;
    std::vector<IssuedKey> keys{kKeys};
    std::atomic<int> revoked{0};  // Of `keys`, which are not touched any more.
    std::atomic<int> seen{0};     // Of those, before a renewal that has returned.
  };
  Writer writers[] = {Writer(service.registry), Writer(own)};
  std::atomic<int> writing{2}, looks{0}, reads{0}, wrong{0}, errors{0};
  const auto busy = [&] { return writing > 0 || looks < kLooks || reads < kLooks / 10; };

  std::vector<std::thread> threads;
  for (Writer& writer : writers) {
    threads.emplace_back([&] {
      for (IssuedKey& key : writer.keys) {
        auto issued = writer.registry.Create(service.acme_owner, {.organization = "acme", .role = "editor"},
                                             absl::InfiniteDuration());
        if (issued.ok()) key = *std::move(issued);
        errors += !writer.registry.Delete(service.acme_owner, {"acme", key.key.kid}).ok();
        ++writer.revoked;
      }
      --writing;
    });
  }
  threads.emplace_back([&] {
    while (busy()) {
      const int before[] = {writers[0].revoked, writers[1].revoked};
      errors += !replica.follower.Renew().ok();
      for (int i = 0; i < 2; ++i) writers[i].seen = before[i];
      service.clock.Advance(absl::Microseconds(1));
    }
  });
  threads.emplace_back([&] {
    for (; busy(); ++reads) {
      const int revoked = writers[0].revoked;
      errors += !replica.follower.CatchUp(service.clock.BootNow() + absl::Hours(1)).ok();
      if (revoked == 0) continue;
      const core::RevisionToken token = writers[0].keys[revoked - 1].revision;
      wrong += replica.follower.StatusOf(token) != RevisionStatus::kApplied;
    }
  });
  threads.emplace_back([&] {
    for (int look = 0; busy(); ++look) {
      const Writer& writer = writers[look % 2];
      const int seen = writer.seen;
      if (seen == 0) continue;
      const std::string_view text = writer.keys[look % 3 == 0 ? seen - 1 : look % seen].key_string.Expose();
      const auto verdict = replica.verifier.VerifyFromMemory({.key = text, .asker_organization = "system"});
      wrong += !verdict || !verdict->ok() || (*verdict)->decision != Decision::kRevoked;
      ++looks;
    }
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  EXPECT_EQ(wrong, 0);
  ASSERT_THAT(replica.follower.Renew(), IsOk());
  EXPECT_TRUE(replica.alarms.empty());
  EXPECT_EQ(replica.index.position().chain, **service.store.ReadChain(replica.index.position().rev));
  EXPECT_FALSE(service.store.ReadChain(replica.index.position().rev + 1)->has_value());
  for (const Writer& writer : writers) {
    for (const IssuedKey& key : writer.keys) {
      EXPECT_EQ(replica.Verify(key.key_string.Expose())->decision, Decision::kRevoked);
    }
  }
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
    EXPECT_THAT(DecodeBody(LogRow{1, absl::UnixEpoch(), body, ""}), HasReason("ROW_UNREADABLE")) << body;
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
