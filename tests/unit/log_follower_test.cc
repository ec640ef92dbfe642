#include "server/keys/log_follower.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

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
  explicit Replica(MemoryService& service, LogFollower::Options options = {})
      : follower(service.store, index, service.clock, options),
        verifier(service.store, index, service.ring, service.hashes, service.clock) {}
  absl::StatusOr<Verdict> Verify(std::string_view text) {
    return verifier.Verify({text, nullptr, "system"}, absl::InfiniteDuration());
  }
  KeyIndex index;
  LogFollower follower;
  KeyVerifier verifier;
};

TEST(LogFollower, BeforeTheFirstPollNothingIsAnswered) {
  MemoryService service;
  Replica replica(service);
  EXPECT_THAT(replica.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  ASSERT_THAT(replica.follower.Poll(), IsOk());
  EXPECT_EQ(replica.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
}

TEST(LogFollower, AReplicaSeesAnothersDeleteAtItsNextPollAndRefusesWithinTheBoundIfItCanNotPoll) {
  MemoryService service;
  Replica replica(service);
  ASSERT_THAT(replica.follower.Poll(), IsOk());
  const IssuedKey issued = service.MustCreate(service.acme_owner, "acme", "editor");
  ASSERT_THAT(replica.follower.Poll(), IsOk());
  ASSERT_EQ(replica.Verify(issued.key_string.Expose())->decision, Decision::kAllowed);

  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", issued.key.kid}), IsOk());
  EXPECT_EQ(replica.Verify(issued.key_string.Expose())->decision, Decision::kAllowed);  // Within L: its lease is old.
  ASSERT_THAT(replica.follower.Poll(), IsOk());
  EXPECT_EQ(replica.Verify(issued.key_string.Expose())->decision, Decision::kRevoked);

  const IssuedKey second = service.MustCreate(service.acme_owner, "acme", "editor");
  ASSERT_THAT(replica.follower.Poll(), IsOk());
  ASSERT_THAT(service.registry.Delete(service.acme_owner, {"acme", second.key.kid}), IsOk());
  service.store.SetUnavailable(true);
  service.Advance(absl::Seconds(5));
  EXPECT_THAT(replica.follower.Poll(), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(replica.Verify(second.key_string.Expose()), HasReason("LEASE_EXPIRED"));
}

// Delays the answer of every read of the log, as a slow network does.
class SlowStore final : public storage::KeyStore {
 public:
  SlowStore(MemoryService& service, absl::Duration delay) : service_(service), delay_(delay) {}
  absl::StatusOr<storage::LogPage> ReadLog(int64_t cursor, int limit) override {
    auto page = service_.store.ReadLog(cursor, limit);
    service_.Advance(delay_);
    return page;
  }
  absl::StatusOr<storage::Snapshot> LoadSnapshot() override { return service_.store.LoadSnapshot(); }
  absl::StatusOr<storage::Committed> Commit(const storage::LockPlan& plan, Decide decide) override {
    return service_.store.Commit(plan, decide);
  }
  absl::StatusOr<std::optional<KeyRecord>> ReadKey(const std::string& kid) override {
    return service_.store.ReadKey(kid);
  }
  absl::StatusOr<std::optional<OrganizationRecord>> ReadOrganization(const std::string& id) override {
    return service_.store.ReadOrganization(id);
  }
  absl::StatusOr<std::vector<KeyRecord>> ListKeys(const storage::KeyQuery& query) override {
    return service_.store.ListKeys(query);
  }
  absl::StatusOr<std::vector<OrganizationRecord>> ListOrganizations(const std::string& after, bool deleted,
                                                                    int limit) override {
    return service_.store.ListOrganizations(after, deleted, limit);
  }
  absl::StatusOr<std::vector<RoleRecord>> ListRoles(const std::string& organization) override {
    return service_.store.ListRoles(organization);
  }
  absl::StatusOr<std::vector<StoredSecret>> ReadSecrets(const std::string& kid) override {
    return service_.store.ReadSecrets(kid);
  }
  absl::StatusOr<std::map<std::string, std::string>> SettleKeyRingChecks(
      const std::map<std::string, std::string>& checks) override {
    return service_.store.SettleKeyRingChecks(checks);
  }

 private:
  MemoryService& service_;
  const absl::Duration delay_;
};

TEST(LogFollower, TheLeaseCountsFromWhenThePollWasSentNotFromItsAnswer) {
  MemoryService service;
  SlowStore slow(service, absl::Seconds(4));
  KeyIndex index;
  LogFollower follower(slow, index, service.clock, {});
  ASSERT_THAT(follower.Poll(), IsOk());  // The snapshot.
  const base::BootTime sent_at = service.clock.BootNow();
  ASSERT_THAT(follower.Poll(), IsOk());
  EXPECT_EQ(index.Read().lease_until, sent_at + absl::Seconds(5));
  EXPECT_EQ(service.clock.BootNow(), sent_at + absl::Seconds(4));
}

TEST(LogFollower, OnlyThePollThatReachesTheHeadExtendsTheLease) {
  MemoryService service;
  SlowStore slow(service, absl::Seconds(1));
  KeyIndex index;
  LogFollower follower(slow, index, service.clock, {.bound = absl::Seconds(5), .page = 2});
  ASSERT_THAT(follower.Poll(), IsOk());
  for (int i = 0; i < 3; ++i) service.MustCreate(service.acme_owner, "acme", "viewer");
  const base::BootTime began = service.clock.BootNow();
  ASSERT_THAT(follower.Poll(), IsOk());  // Pages of one new row each: three reads, the last one reaches the head.
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
  ASSERT_THAT(service.follower.Poll(), IsOk());
  EXPECT_EQ(alarms.size(), 1u);
  EXPECT_EQ(service.MustVerify(kept.key_string.Expose()), Decision::kAllowed);
  EXPECT_EQ(service.MustVerify(lost.key_string.Expose()), Decision::kNotFound);
}

TEST(LogFollower, ADatabaseWithAnotherIdentityIsNotFollowedAsIfItWereTheSame) {
  MemoryService service;
  int alarms = 0;
  service.follower.OnHistoryRewritten([&alarms](const std::string&) { ++alarms; });
  service.store.ReplaceChain();
  ASSERT_THAT(service.follower.Poll(), IsOk());
  EXPECT_EQ(alarms, 1);
}

TEST(LogFollower, OwnRowsThatCanNotBeFollowedEndTheLeaseUntilAPollHasPassedThem) {
  MemoryService service;
  Replica other(service);
  ASSERT_THAT(other.follower.Poll(), IsOk());
  service.MustCreate(service.acme_owner, "acme", "editor");
  // The other server's own write arrives while it has not seen the row before it and can't ask for it.
  const auto page = service.store.ReadLog(service.index.position().rev, 2);
  LogRow own = page->rows.back();
  own.rev += 1;
  service.store.SetUnavailable(true);
  other.follower.Deliver({own});
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  service.store.SetUnavailable(false);
  ASSERT_THAT(other.follower.Poll(), IsOk());  // Reaches the head, but not yet the row that was delivered.
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
  service.MustCreate(service.acme_owner, "acme", "editor");
  ASSERT_THAT(other.follower.Poll(), IsOk());
  EXPECT_EQ(other.Verify(service.acme_owner_string.Expose())->decision, Decision::kAllowed);
}

TEST(LogFollower, ARowThatBreaksTheChainStopsEveryAnswer) {
  MemoryService service;
  Replica other(service);
  ASSERT_THAT(other.follower.Poll(), IsOk());
  LogRow forged;
  forged.rev = other.index.position().rev + 1;
  forged.at = service.now;
  forged.body = "{}";
  forged.chain = std::string(32, 'x');
  service.store.SetUnavailable(true);
  other.follower.Deliver({forged});
  EXPECT_THAT(other.Verify(service.acme_owner_string.Expose()), HasReason("LEASE_EXPIRED"));
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
