#include <atomic>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::contract {
namespace {

using ::latchkey::testing::IsOk;
using ::testing::SizeIs;

constexpr int kWriters = 16;

template <typename Job>
void InParallel(int threads, Job job) {
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) running.emplace_back([&job, i] { job(i); });
  for (std::thread& thread : running) thread.join();
}

TEST_P(KeyStoreContract, RevisionsOfConcurrentWritersHaveNoGapsAndTheChainHolds) {
  constexpr int kEach = 15;
  const size_t before = Log().size();
  InParallel(kWriters, [&](int writer) {
    for (int i = 0; i < kEach; ++i) {
      const std::vector<keys::LogRow> rows =
          Put({ChangeOf(Key(absl::StrCat("k", writer, "-", i))), ChangeOf(Key(absl::StrCat("l", writer, "-", i)))});
      ASSERT_THAT(rows, SizeIs(2));
      EXPECT_EQ(rows[1].rev, rows[0].rev + 1);
    }
  });
  EXPECT_THAT(Log(), SizeIs(before + 2 * kEach * kWriters));
  EXPECT_EQ(Flaw(Log()), "");
  EXPECT_THAT(TakeSnapshot().keys, SizeIs(2 * kEach * kWriters));
}

// A follower that goes by the cursor alone must never be overtaken by a lower revision.
TEST_P(KeyStoreContract, RevisionsBecomeVisibleInOrder) {
  std::atomic<bool> writing = true;
  std::vector<keys::LogRow> followed = {Log().at(0)};
  std::thread follower([&] {
    for (bool last_round = false;; last_round = !writing) {
      const absl::StatusOr<storage::LogPage> page = store_->ReadLog(followed.back().rev, 7);
      ASSERT_THAT(page, IsOk());
      ASSERT_FALSE(page->rows.empty());
      EXPECT_EQ(page->rows[0].chain, followed.back().chain);
      followed.insert(followed.end(), page->rows.begin() + 1, page->rows.end());
      if (last_round && followed.back().rev == page->head) return;
    }
  });
  InParallel(8, [&](int writer) {
    for (int i = 0; i < 15; ++i) {
      const std::vector<keys::LogRow> rows = Put({ChangeOf(Key(absl::StrCat("k", writer)))});
      ASSERT_THAT(rows, SizeIs(1));
      // Acknowledged is visible.
      EXPECT_GE(store_->ReadLog(rows[0].rev, 2)->head, rows[0].rev);
    }
  });
  writing = false;
  follower.join();
  EXPECT_EQ(Flaw(followed), "");
  EXPECT_EQ(followed.size(), Log().size());
}

TEST_P(KeyStoreContract, NoUpdateOfALockedKeyIsLost) {
  constexpr int kEach = 10;
  keys::KeyRecord counter = Key("counter");
  counter.owner = "0";
  Put({ChangeOf(counter)});
  InParallel(kWriters, [&](int) {
    for (int i = 0; i < kEach; ++i) {
      EXPECT_THAT(store_->Commit({.kids = {"counter"}},
                                 [](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
                                   keys::KeyRecord key = state.keys.at("counter");
                                   int value = 0;
                                   if (!absl::SimpleAtoi(key.owner, &value)) return errors::Internal("not a number");
                                   key.owner = absl::StrCat(value + 1);
                                   return storage::Mutation{.changes = {ChangeOf(key)}};
                                 }),
                  IsOk());
    }
  });
  EXPECT_EQ(Stored("counter").owner, absl::StrCat(kWriters * kEach));
}

// A role is held still both for those who name it and for those who lock a key that holds it.
TEST_P(KeyStoreContract, NoUpdateOfALockedRoleIsLost) {
  constexpr int kEach = 10;
  keys::RoleRecord counter = Role("acme", "counter");
  counter.description = "0";
  std::vector<keys::Change> changes = {ChangeOf(counter)};
  for (int writer = 0; writer < kWriters; ++writer) {
    keys::KeyRecord holder = Key(absl::StrCat("k", writer));
    holder.role = "counter";
    changes.push_back(ChangeOf(holder));
  }
  Put(changes);
  InParallel(kWriters, [&](int writer) {
    storage::LockPlan plan;
    if (writer % 2 == 0) plan.roles = {{"acme", "counter"}};
    if (writer % 2 == 1) plan.kids = {absl::StrCat("k", writer)};
    for (int i = 0; i < kEach; ++i) {
      EXPECT_THAT(store_->Commit(plan,
                                 [](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
                                   keys::RoleRecord role = state.roles.at({"acme", "counter"});
                                   int value = 0;
                                   if (!absl::SimpleAtoi(role.description, &value))
                                     return errors::Internal("no number");
                                   role.description = absl::StrCat(value + 1);
                                   return storage::Mutation{.changes = {ChangeOf(role)}};
                                 }),
                  IsOk());
    }
  });
  EXPECT_EQ(store_->ListRoles("acme", "", 1000).value().at(0).description, absl::StrCat(kWriters * kEach));
}

TEST_P(KeyStoreContract, PlansInOppositeOrderDoNotDeadlock) {
  Put({ChangeOf(Key("a")), ChangeOf(Key("b")), ChangeOf(Role("acme", "r")), ChangeOf(Role("acme", "s"))});
  InParallel(8, [&](int writer) {
    const bool forth = writer % 2 == 0;
    for (int i = 0; i < 10; ++i) {
      storage::LockPlan plan;
      plan.kids = forth ? std::vector<std::string>{"a", "b"} : std::vector<std::string>{"b", "a"};
      plan.roles = {{"acme", forth ? "r" : "s"}, {"acme", forth ? "s" : "r"}};
      plan.organization = "acme";
      plan.lock_organization = true;
      EXPECT_THAT(store_->Commit(plan, Always({ChangeOf(Key(forth ? "a" : "b"))})), IsOk());
    }
  });
}

TEST_P(KeyStoreContract, NoUpdateOfALockedOrganizationIsLost) {
  constexpr int kEach = 10;
  keys::OrganizationRecord counter = Organization("counter");
  counter.display_name = "0";
  Put({ChangeOf(counter)});
  InParallel(kWriters, [&](int) {
    for (int i = 0; i < kEach; ++i) {
      EXPECT_THAT(store_->Commit({.organization = "counter", .lock_organization = true},
                                 [](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
                                   keys::OrganizationRecord organization = *state.organization;
                                   int value = 0;
                                   if (!absl::SimpleAtoi(organization.display_name, &value)) {
                                     return errors::Internal("not a number");
                                   }
                                   organization.display_name = absl::StrCat(value + 1);
                                   return storage::Mutation{.changes = {ChangeOf(organization)}};
                                 }),
                  IsOk());
    }
  });
  EXPECT_EQ(store_->ReadOrganization("counter").value()->display_name, absl::StrCat(kWriters * kEach));
}

TEST_P(KeyStoreContract, OfTwoCommitsWithOneRequestIdExactlyOneCreates) {
  for (int round = 0; round < 5; ++round) {
    const std::string request_id = absl::StrCat("r", round);
    std::atomic<int> created = 0;
    std::atomic<int> replayed = 0;
    InParallel(8, [&](int writer) {
      const std::string kid = absl::StrCat("k", round, "-", writer);
      const absl::StatusOr<storage::Committed> committed =
          store_->Commit({.request_scope = "caller", .request_id = request_id},
                         [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
                           if (!state.replayed_name.empty()) return errors::RequestReplayed(state.replayed_name);
                           return storage::Mutation{{ChangeOf(Key(kid))}, kid};
                         });
      if (committed.ok()) {
        ++created;
      } else {
        EXPECT_THAT(committed, latchkey::testing::HasReason("REQUEST_REPLAYED"));
        ++replayed;
      }
    });
    EXPECT_EQ(created, 1);
    EXPECT_EQ(replayed, 7);
  }
  EXPECT_THAT(TakeSnapshot().keys, SizeIs(5));
}

TEST_P(KeyStoreContract, OfTwoCreationsOfAnOrganizationTheSecondSeesTheFirst) {
  std::atomic<int> created = 0;
  InParallel(8, [&](int) {
    const absl::StatusOr<storage::Committed> committed =
        store_->Commit({.organization = "umbrella", .lock_organization = true},
                       [](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
                         if (state.organization) return errors::OrganizationExists("organizations/umbrella");
                         return storage::Mutation{.changes = {ChangeOf(Organization("umbrella"))}};
                       });
    if (committed.ok()) {
      ++created;
    } else {
      EXPECT_THAT(committed, latchkey::testing::HasReason("ORGANIZATION_EXISTS"));
    }
  });
  EXPECT_EQ(created, 1);
}

TEST_P(KeyStoreContract, OnlyOneCommitSeesThatThereHasNeverBeenAnOwner) {
  std::atomic<int> first = 0;
  InParallel(8, [&](int writer) {
    const absl::StatusOr<storage::Committed> committed =
        store_->Commit({}, [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
          if (state.owner_ever) return errors::AlreadyBootstrapped();
          keys::KeyRecord owner = Key(absl::StrCat("owner", writer), "system");
          owner.role = "owner";
          return storage::Mutation{.changes = {ChangeOf(owner)}};
        });
    if (committed.ok()) {
      ++first;
    } else {
      EXPECT_THAT(committed, latchkey::testing::HasReason("ALREADY_BOOTSTRAPPED"));
    }
  });
  EXPECT_EQ(first, 1);
}

}  // namespace
}  // namespace latchkey::contract
