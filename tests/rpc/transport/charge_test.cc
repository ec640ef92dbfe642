#include "server/rpc/transport/charge.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

struct Tree {
  std::shared_ptr<Account> process = std::make_shared<Account>(Amount{10, 1000});
  std::shared_ptr<Account> one = std::make_shared<Account>(Amount{4, 800}, process);
  std::shared_ptr<Account> other = std::make_shared<Account>(Amount{8, 800}, process);
};

void ExpectHeld(const Account& account, size_t places, size_t bytes) {
  EXPECT_EQ(account.held().places, places);
  EXPECT_EQ(account.held().bytes, bytes);
}

TEST(Charge, IsOnTheAccountAndOnAllAboveItUntilItsEnd) {
  Tree tree;
  {
    const absl::StatusOr<Charge> charge = Charge::Take(tree.one, {1, 100});
    ASSERT_TRUE(charge.ok());
    ExpectHeld(*tree.one, 1, 100);
    ExpectHeld(*tree.process, 1, 100);
    ExpectHeld(*tree.other, 0, 0);
  }
  ExpectHeld(*tree.one, 0, 0);
  ExpectHeld(*tree.process, 0, 0);
}

TEST(Charge, ThatIsRefusedAnywhereHoldsNothing) {
  Tree tree;
  const absl::StatusOr<Charge> much = Charge::Take(tree.other, {8, 700});
  ASSERT_TRUE(much.ok());
  const struct {
    const char* what;
    Amount amount;
  } cases[] = {{"its places", {5, 0}},
               {"its bytes", {0, 801}},
               {"the process's places", {3, 0}},
               {"the process's bytes", {1, 301}}};
  for (const auto& c : cases) {
    const absl::StatusOr<Charge> refused = Charge::Take(tree.one, c.amount);
    EXPECT_EQ(errors::ReasonOf(refused.status()), errors::Reason::kWorkersBusy) << c.what;
    ExpectHeld(*tree.one, 0, 0);
    ExpectHeld(*tree.process, 8, 700);
  }
  EXPECT_TRUE(Charge::Take(tree.one, {2, 300}).ok());
}

TEST(Charge, IsGivenBackInParts) {
  Tree tree;
  absl::StatusOr<Charge> charge = Charge::Take(tree.one, {1, 100});
  ASSERT_TRUE(charge.ok());
  charge->GiveBack({1, 0});
  ExpectHeld(*tree.process, 0, 100);
  charge->GiveBack({1, 40});
  ExpectHeld(*tree.process, 0, 60);
  charge->GiveBack({0, 1000});
  ExpectHeld(*tree.process, 0, 0);
}

TEST(Charge, TakesAnotherIn) {
  Tree tree;
  Charge charge;
  charge.Add(*Charge::Take(tree.one, {1, 100}));
  charge.Add(*Charge::Take(tree.one, {1, 50}));
  ExpectHeld(*tree.one, 2, 150);
  charge.Add(*Charge::Take(tree.other, {0, 10}));
  ExpectHeld(*tree.one, 0, 0);
  ExpectHeld(*tree.process, 0, 10);
  Charge moved = std::move(charge);
  moved.Release();
  ExpectHeld(*tree.process, 0, 0);
}

TEST(Charge, BeyondTheLimitKeepsTheOthersOut) {
  Tree tree;
  Charge beyond = Charge::TakeBeyondLimit(tree.one, {9, 2000});
  ExpectHeld(*tree.one, 9, 2000);
  EXPECT_FALSE(Charge::Take(tree.one, {1, 0}).ok());
  EXPECT_FALSE(Charge::Take(tree.other, {0, 1}).ok());
  EXPECT_TRUE(Charge::Take(tree.other, {1, 0}).ok());
}

TEST(Charge, OfManyThreadsNeverExceedsALimitAndIsAllGivenBack) {
  Tree tree;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20'000; ++i) {
        const absl::StatusOr<Charge> charge = Charge::Take(t % 2 == 0 ? tree.one : tree.other, {3, 300});
        EXPECT_LE(tree.process->held().places, 10u);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ExpectHeld(*tree.process, 0, 0);
}

TEST(AccountsByName, OneNameIsOneAccountAndThoseThatHoldNothingAreForgotten) {
  const auto process = std::make_shared<Account>(Amount{~size_t{0} / 2, 0});
  AccountsByName accounts({2, 0}, process);
  const absl::StatusOr<Charge> held = Charge::Take(accounts.Of("held"), {2, 0});
  for (int i = 0; i < 5'000; ++i) EXPECT_TRUE(Charge::Take(accounts.Of(std::to_string(i)), {1, 0}).ok());
  EXPECT_FALSE(Charge::Take(accounts.Of("held"), {1, 0}).ok());
  EXPECT_EQ(process->held().places, 2u);
}

}  // namespace
}  // namespace latchkey::rpc
