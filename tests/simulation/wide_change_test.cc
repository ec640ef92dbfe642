#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "client/core/key_format.h"
#include "client/core/resource_names.h"
#include "client/src/cache/lease_cache.h"
#include "tests/support/memory_service.h"
#include "tests/support/status_matchers.h"

namespace latchkey {
namespace {

using core::Decision;
using testing::IsOk;
using testing::MemoryService;

constexpr int kKeys = 100'000;
const absl::Duration kLifetime = absl::Minutes(5);

// A hundred thousand keys of `acme` with the role `writer`, in a server's index and in a client's cache: the real
// classes, without the network between.
class WideChange : public ::testing::Test {
 protected:
  WideChange() : cache_({.capacity = 2 * kKeys}, service_.clock) {
    service_.PutRole("acme", "writer", {"app.write"});
    CommitKeys();
    stream_ = cache_.BeginStream();
    auto subscription = service_.hub.Subscribe({}, {}, [] {});
    EXPECT_THAT(subscription, IsOk());
    watch_ = subscription->stream;
    cache_.Hello(stream_, subscription->from, false, absl::Seconds(5));
    service_.Advance(absl::Seconds(6));  // Past the time in which entries last no longer than their answers.
    RenewAndPing();
    for (const std::string& text : strings_) {
      const auto verdict = service_.verifier.VerifyFromMemory({.key = text, .asker_organization = "system"});
      EXPECT_TRUE(verdict.has_value() && verdict->ok());
      cache_.Insert(cache_.BeginRequest(text), ServerAnswerOf(**verdict), writing_);
    }
    EXPECT_EQ(Allowed(), kKeys);
  }

  void CommitKeys() {
    const auto decide = [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
      storage::Mutation mutation;
      for (int i = 0; i < kKeys; ++i) {
        strings_.emplace_back(service_.TheRing()->Mint().Expose());
        const auto parts = core::ParseKeyString(strings_.back());
        keys::Change change;
        // Half of them end with the key, half with the overlap of a rotation.
        const absl::Time ends_at = state.now + kLifetime;
        change.key =
            keys::KeyRecord{.organization = "acme",
                            .kid = std::string(parts->kid),
                            .role = "writer",
                            .created_at = state.now,
                            .updated_at = state.now,
                            .expires_at = i % 2 == 0 ? ends_at : keys::Never(),
                            .versions = {keys::SecretVersion{1, state.now, i % 2 == 0 ? keys::Never() : ends_at}}};
        change.new_secret = keys::NewSecret{
            .version = 1, .hash = "none", .pepper_id = "1", .proof = service_.TheRing()->ProofOf(*parts)};
        change.body = keys::EncodeBody(change, keys::Audit());
        mutation.changes.push_back(std::move(change));
      }
      return mutation;
    };
    ASSERT_THAT(service_.store.Commit({.organization = "acme", .lock_organization = true}, decide), IsOk());
    ASSERT_THAT(service_.follower.Renew(), IsOk());
  }

  static client::LeaseCache::ServerAnswer ServerAnswerOf(const keys::Verdict& verdict) {
    client::LeaseCache::ServerAnswer answer{.decision = verdict.decision,
                                            .revision = verdict.revision.revision,
                                            .lease_remaining = verdict.lease_remaining,
                                            .expires_in = verdict.expires_in};
    if (verdict.identity) {
      answer.identity = Identity(Identity::Fields{.organization = verdict.identity->organization,
                                                  .key_id = verdict.identity->kid,
                                                  .role = verdict.identity->role,
                                                  .permissions = verdict.identity->permissions,
                                                  .secret_version = verdict.identity->secret_version});
    }
    return answer;
  }

  // As the server does it: renew, tell what is queued, then lend time. Returns how many Invalidates that took.
  int RenewAndPing() {
    const core::BootTime sent_at = service_.clock.BootNow();
    EXPECT_THAT(service_.follower.Renew(), IsOk());
    const core::RevisionToken position = service_.hub.position();
    const auto reading = service_.index.Read();
    int told = 0;
    for (const keys::Invalidation& row : watch_->Take(10'000)) {
      client::LeaseCache::Invalidation what{.revision = row.revision};
      if (row.kind == keys::Invalidation::Kind::kKey) what.key_ids = {row.id};
      if (row.kind == keys::Invalidation::Kind::kRole) what.roles = {core::RoleNameOf(row.organization, row.id)};
      if (row.kind == keys::Invalidation::Kind::kOrganization) what.organizations = {row.organization};
      cache_.Invalidate(stream_, what);
      ++told;
    }
    EXPECT_THAT(watch_->ended(), IsOk());
    cache_.Pong(stream_, sent_at, position, reading.lease_until - service_.clock.BootNow());
    return told;
  }

  // How many of the keys the cache lets in.
  int Allowed() {
    return static_cast<int>(std::count_if(strings_.begin(), strings_.end(), [this](const std::string& text) {
      const auto hit = cache_.Find(text, writing_);
      return hit && hit->decision == Decision::kAllowed;
    }));
  }

  const VerifyParams writing_{.required_permissions = {"app.write"}};
  MemoryService service_;
  client::LeaseCache cache_;
  std::vector<std::string> strings_;
  std::shared_ptr<keys::WatchHub::Stream> watch_;
  uint64_t stream_ = 0;
};

TEST_F(WideChange, ANarrowedRoleReachesEveryCachedKeyByOneRowAndOneInvalidate) {
  const int64_t before = service_.index.position().rev;
  service_.PutRole("acme", "writer", {"app.read"});
  EXPECT_EQ(service_.index.position().rev, before + 1);
  EXPECT_EQ(RenewAndPing(), 1);
  EXPECT_EQ(Allowed(), 0);
}

TEST_F(WideChange, ADeletedOrganizationReachesEveryCachedKeyByOneRowAndOneInvalidate) {
  const int64_t before = service_.index.position().rev;
  service_.DeleteOrganization("acme");
  EXPECT_EQ(service_.index.position().rev, before + 1);
  EXPECT_EQ(RenewAndPing(), 1);
  EXPECT_EQ(Allowed(), 0);
}

TEST_F(WideChange, ExpiriesAndEndsOfOverlapsReachEveryCachedKeyByTheClockAlone) {
  service_.Advance(kLifetime - absl::Seconds(7));
  EXPECT_EQ(RenewAndPing(), 0);
  EXPECT_EQ(Allowed(), kKeys);
  service_.Advance(absl::Seconds(1));
  EXPECT_EQ(RenewAndPing(), 0);
  EXPECT_EQ(Allowed(), 0);
}

}  // namespace
}  // namespace latchkey
