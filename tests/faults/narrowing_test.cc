// One row of the log that narrows many keys: it reaches all of them in a client's cache within the bound, by one
// message.
#include <gtest/gtest.h>

#include <atomic>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/core/clock.h"
#include "latchkey/verifier.h"
#include "server/model/change_codec.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "tests/faults/deployment.h"
#include "tests/support/postgres_environment.h"

namespace latchkey::faults {
namespace {

constexpr size_t kKeys = 1'000;
constexpr int kCreators = 4;
constexpr absl::Duration kBound = absl::Seconds(2);
constexpr absl::Duration kPatience = absl::Seconds(30);
constexpr char kPermission[] = "app.write";

// A server, a client that has verified a thousand keys of `acme` with a role of its own, and the store underneath: some
// changes have no RPC yet.
class Narrowing : public ::testing::Test {
 protected:
  void SetUp() override {
    role_.organization = "acme";
    role_.id = "writer";
    role_.display_name = "Writer";
    role_.permissions = {"app.read", kPermission};
    role_.created_at = role_.updated_at = absl::FromUnixSeconds(1'700'000'000);

    const std::string database = testing::FreshDatabase();
    deployment_ = std::make_unique<Deployment>(database);
    const std::string owner_string = deployment_->Bootstrap();
    deployment_->SetBound(static_cast<int>(absl::ToInt64Seconds(kBound)));
    server_ = deployment_->NewServer();
    server_->Start();
    ASSERT_TRUE(server_->WaitUntilServing());
    store_ = storage::PostgresKeyStore::Create({.connection_string = database});
    const Caller owner(server_->channel(), owner_string);
    const Reply made = Insist([&] { return owner.CreateOrganization("acme"); });
    ASSERT_TRUE(made.ok()) << made;
    keys::Change change;
    change.role = role_;
    Commit(change);
    CreateKeys(owner);
    own_of_acme_ = MustCreate(owner, "verifier", "client").key_string();
    StartClient(owner_string);
  }

  void CreateKeys(const Caller& owner) {
    key_strings_.resize(kKeys);
    std::atomic<size_t> next = 0;
    std::vector<std::thread> creators;
    for (int i = 0; i < kCreators; ++i) {
      creators.emplace_back([&] {
        for (size_t key = next++; key < kKeys; key = next++) {
          v1::CreateKeyResponse created;
          const Reply reply = WhileBusy([&] { return owner.Create(role_.id, "a key", "", &created); });
          EXPECT_TRUE(reply.ok()) << reply;
          key_strings_[key] = created.key_string();
        }
      });
    }
    for (std::thread& creator : creators) creator.join();
  }

  // `own`: the client's key string.
  void StartClient(const std::string& own) {
    absl::StatusOr<std::unique_ptr<Verifier>> verifier =
        Verifier::Connect({.server = absl::StrCat("unix:", server_->socket()),
                           .key_file = directory_.WriteFile("verifier.key", own + "\n")});
    ASSERT_TRUE(verifier.ok()) << verifier.status();
    verifier_ = *std::move(verifier);
    // Until all are remembered: a round without a question to the server. And until the lowered bound is told: then the
    // stream is resumed, and hears again of what came last.
    for (const absl::Time give_up = absl::Now() + kPatience; absl::Now() < give_up;) {
      if (verifier_->Stats().max_staleness != kBound) {
        absl::SleepFor(absl::Milliseconds(1));
        continue;
      }
      const int64_t misses = verifier_->Stats().misses;
      const size_t allowed = Round(core::BootTime::FromNanoseconds(INT64_MAX));
      if (allowed == kKeys && verifier_->Stats().misses == misses) return;
    }
    FAIL() << "the keys are not remembered";
  }

  void Commit(const keys::Change& wanted) {
    keys::Change change = wanted;
    change.body = keys::EncodeBody(change, keys::Audit{.principal = "bootstrap", .method = "test"});
    storage::LockPlan plan{.organization = "acme", .lock_organization = change.organization.has_value()};
    if (change.role.has_value()) plan.roles.emplace_back(change.role->organization, change.role->id);
    const absl::StatusOr<storage::Committed> committed =
        store_->Commit(plan, [&](const storage::LockedState&) -> absl::StatusOr<storage::Mutation> {
          return storage::Mutation{{change}, ""};
        });
    ASSERT_TRUE(committed.ok()) << committed.status();
    EXPECT_EQ(committed->rows.size(), 1u);
  }

  // Verifies each key once. How many were allowed; fails the test for one that was asked about at `dead_at` or later
  // and allowed.
  size_t Round(core::BootTime dead_at) {
    size_t allowed = 0;
    for (const std::string& key_string : key_strings_) {
      const core::BootTime asked_at = clock_.BootNow();
      if (!verifier_->Verify(key_string, {.required_permissions = {kPermission}}).allowed()) continue;
      ++allowed;
      EXPECT_LT(asked_at.nanoseconds(), dead_at.nanoseconds());
    }
    return allowed;
  }

  // Commits the change and verifies round after round until the bound is over.
  void ExpectAllRefusedAfter(const keys::Change& change, const std::string& what) {
    const int64_t invalidations = verifier_->Stats().invalidations;
    const core::BootTime sent_at = clock_.BootNow();
    Commit(change);
    const core::BootTime returned_at = clock_.BootNow();
    const core::BootTime dead_at = returned_at + core::WithClockError(kBound);
    absl::Duration refused_after = absl::InfiniteDuration();
    size_t allowed = kKeys;
    while (clock_.BootNow() < dead_at || allowed > 0) {
      ASSERT_LT(clock_.BootNow() - returned_at, kPatience) << allowed << " keys are still allowed";
      allowed = Round(dead_at);
      if (allowed == 0) refused_after = std::min(refused_after, clock_.BootNow() - sent_at);
    }
    EXPECT_EQ(Round(dead_at), 0u);
    EXPECT_EQ(verifier_->Stats().invalidations - invalidations, 1) << "one row, one message";
    std::cout << absl::StreamFormat("%s: %d remembered keys refused by one row within %.0f ms (bound %.0f)\n", what,
                                    kKeys, absl::ToDoubleMilliseconds(refused_after),
                                    absl::ToDoubleMilliseconds(core::WithClockError(kBound)));
  }

  const core::SystemClock clock_{};
  keys::RoleRecord role_;
  testing::TempDirectory directory_;
  std::unique_ptr<Deployment> deployment_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<storage::KeyStore> store_;
  std::vector<std::string> key_strings_;
  std::string own_of_acme_;  // The key string of a verifier of acme.
  std::unique_ptr<Verifier> verifier_;
};

TEST_F(Narrowing, OfARoleReachesAThousandRememberedKeys) {
  keys::Change change;
  role_.permissions = {"app.read"};
  change.role = role_;
  ExpectAllRefusedAfter(change, "role narrowed");
  // Only what was taken away.
  EXPECT_TRUE(verifier_->Verify(key_strings_[0], {.required_permissions = {"app.read"}}).allowed());
}

TEST_F(Narrowing, ByDeletingTheOrganizationReachesAThousandRememberedKeys) {
  const absl::StatusOr<std::optional<keys::OrganizationRecord>> acme = store_->ReadOrganization("acme");
  ASSERT_TRUE(acme.ok() && acme->has_value());
  keys::Change change;
  change.organization = **acme;
  change.organization->deleted_at = absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now()));
  ExpectAllRefusedAfter(change, "organization deleted");
}

// It is told nothing more, but that it is refused: it does not wait for its lease to end.
TEST_F(Narrowing, ByDeletingTheOrganizationReachesAClientWhoseOwnKeyGoesWithIt) {
  StartClient(own_of_acme_);
  const absl::StatusOr<std::optional<keys::OrganizationRecord>> acme = store_->ReadOrganization("acme");
  ASSERT_TRUE(acme.ok() && acme->has_value());
  keys::Change change;
  change.organization = **acme;
  change.organization->deleted_at = absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now()));
  Commit(change);
  const core::BootTime returned_at = clock_.BootNow();
  while (verifier_->Stats().lease_remaining > absl::ZeroDuration()) absl::SleepFor(absl::Milliseconds(1));
  // A lease that nobody ends has been renewed at most two fifths of L ago, once by the server and once by the client.
  EXPECT_LT(clock_.BootNow() - returned_at, kBound / 2);
  EXPECT_EQ(Round(returned_at), 0u);
}

}  // namespace
}  // namespace latchkey::faults
