#include "server/keys/crypto/hash_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using ::latchkey::testing::FakeClock;
using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using Priority = HashPool::Priority;

// A worker asks the clock just before and just after each hash: a gate for one hash at a time.
class StepClock final : public base::Clock {
 public:
  base::BootTime BootNow() const override {
    std::unique_lock<std::mutex> lock(mutex_);
    if (asked_++ % 2 == 0) {
      ++begun_;
      stepped_.notify_all();
      stepped_.wait(lock, [this] { return steps_ > 0; });
      --steps_;
    }
    priority_ = getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
    return base::BootTime::FromNanoseconds(1);
  }
  // Lets the next hash run.
  void Step() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++steps_;
    stepped_.notify_all();
  }
  void AwaitBegun(int count) {
    std::unique_lock<std::mutex> lock(mutex_);
    stepped_.wait(lock, [&] { return begun_ >= count; });
  }
  int priority() const { return priority_; }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable stepped_;
  mutable int asked_ = 0;
  mutable int begun_ = 0;
  mutable int steps_ = 0;
  mutable std::atomic<int> priority_ = 0;
};

HashPool::Options OneWorker(int nice = 0) { return {.workers = 1, .profile = RandomKeyProfile(), .nice = nice}; }

// Queues one hash a letter ('F' or 's') behind a first one that does not get on, and returns the letters in the order
// in which they were served.
std::string ServedInOrder(const std::string& lanes) {
  StepClock clock;
  HashPool pool(OneWorker(), clock);
  std::mutex mutex;
  std::condition_variable served_one;
  std::string served;
  std::vector<std::thread> threads;
  const auto hash = [&](char lane) {
    const auto ticket =
        pool.Admit(absl::InfiniteDuration(), lane == 'F' ? Priority::kInteractive : Priority::kBackground);
    EXPECT_THAT(pool.Hash(*ticket, core::Secret(std::string("x"))), IsOk());
    const std::lock_guard<std::mutex> lock(mutex);
    served += lane;
    served_one.notify_all();
  };
  threads.emplace_back(hash, 'F');
  clock.AwaitBegun(1);
  for (const char lane : lanes) threads.emplace_back(hash, lane);
  while (pool.waiting(Priority::kInteractive) + pool.waiting(Priority::kBackground) < lanes.size())
    std::this_thread::yield();
  for (size_t i = 0; i <= lanes.size(); ++i) {
    clock.Step();
    std::unique_lock<std::mutex> lock(mutex);
    served_one.wait(lock, [&] { return served.size() > i; });
  }
  for (std::thread& thread : threads) thread.join();
  return served.substr(1);
}

TEST(HashPool, ServesNineOfTheFirstLaneForOneOfTheSlowWhileBothWait) {
  EXPECT_EQ(ServedInOrder("ssssFFFFFFFFFFFFFFFFFFFF"), "FFFFFFFFFsFFFFFFFFFsFFss");
}

TEST(HashPool, ALaneThatWaitsAloneHasTheWorkersForItself) {
  EXPECT_EQ(ServedInOrder("sssss"), "sssss");
  EXPECT_EQ(ServedInOrder("FFFFFFFFFFFF"), "FFFFFFFFFFFF");
}

// Every hash seems to have taken 10 s, as if the process had been stopped meanwhile.
class SlowClock final : public base::Clock {
 public:
  base::BootTime BootNow() const override { return base::BootTime::FromNanoseconds(++asked_ * 10'000'000'000); }

 private:
  mutable std::atomic<int64_t> asked_ = 0;
};

TEST(HashPool, AHashThatTookForEverDoesNotCloseAnIdlePool) {
  const SlowClock clock;
  HashPool pool(OneWorker(), clock);
  {
    const auto ticket = pool.Admit(absl::InfiniteDuration());
    ASSERT_THAT(ticket, IsOk());
    ASSERT_THAT(pool.Hash(*ticket, core::Secret(std::string("x"))), IsOk());
  }
  const auto next = pool.Admit(absl::Milliseconds(250));
  ASSERT_THAT(next, IsOk());
  EXPECT_THAT(pool.Admit(absl::Milliseconds(250)), HasReason("HASH_POOL_FULL"));
}

// With no hash done yet, a hash is predicted to cost 25 ms.
TEST(HashPool, AdmitsByWhatIsAheadOfALane) {
  const FakeClock clock;
  HashPool pool(OneWorker(), clock);
  std::deque<HashPool::Ticket> out;
  const auto admit = [&](int count, Priority lane) {
    for (int i = 0; i < count; ++i) {
      auto ticket = pool.Admit(absl::InfiniteDuration(), lane);
      ASSERT_THAT(ticket, IsOk());
      out.push_back(*std::move(ticket));
    }
  };
  // The shortest patience that is admitted, in hashes.
  const auto needed = [&](Priority lane) {
    for (int hashes = 0;; ++hashes) {
      const auto ticket = pool.Admit(absl::Milliseconds(25) * hashes, lane);
      if (ticket.ok()) return hashes;
      EXPECT_THAT(ticket, HasReason("HASH_POOL_FULL"));
      EXPECT_GE(errors::DetailOf(ticket.status())->retry_after, absl::Milliseconds(10));
    }
  };
  EXPECT_EQ(needed(Priority::kInteractive), 1);
  EXPECT_EQ(needed(Priority::kBackground), 1);
  admit(5, Priority::kBackground);
  EXPECT_EQ(needed(Priority::kInteractive), 1) << "the slow lane's turn comes after nine";
  EXPECT_EQ(needed(Priority::kBackground), 6);
  admit(20, Priority::kInteractive);
  EXPECT_EQ(needed(Priority::kInteractive), 1 + 20 + 2);
  EXPECT_EQ(needed(Priority::kBackground), 1 + 5 + 20);
  admit(100, Priority::kInteractive);
  EXPECT_EQ(needed(Priority::kBackground), 1 + 5 + 54) << "nine for each of the six";
  out.clear();
  EXPECT_EQ(needed(Priority::kInteractive), 1);
}

TEST(HashPool, ManyTicketsOfOneShareAreNoMoreAheadThanOnesOwn) {
  const FakeClock clock;
  HashPool pool(OneWorker(), clock);
  std::deque<HashPool::Ticket> out;
  const auto admit = [&](const std::string& share, absl::Duration patience) {
    auto ticket = pool.Admit(patience, Priority::kInteractive, share);
    if (ticket.ok()) out.push_back(*std::move(ticket));
    return ticket.ok();
  };
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(admit("flood", absl::InfiniteDuration()));
  EXPECT_FALSE(admit("flood", absl::Milliseconds(25) * 100));
  EXPECT_TRUE(admit("other", absl::Milliseconds(25) * 2)) << "one of the flood's, then its own";
  EXPECT_FALSE(admit("other", absl::Milliseconds(25) * 3));
  EXPECT_TRUE(admit("other", absl::Milliseconds(25) * 4));
  EXPECT_TRUE(admit("third", absl::Milliseconds(25) * 3)) << "one of each, then its own";
}

TEST(HashPool, SharesTakeTurns) {
  StepClock clock;
  HashPool pool(OneWorker(), clock);
  std::mutex mutex;
  std::condition_variable served_one;
  std::string served;
  std::vector<std::thread> threads;
  const auto hash = [&](char share) {
    const auto ticket = pool.Admit(absl::InfiniteDuration(), Priority::kInteractive, std::string(1, share));
    EXPECT_THAT(pool.Hash(*ticket, core::Secret(std::string("x"))), IsOk());
    const std::lock_guard<std::mutex> lock(mutex);
    served += share;
    served_one.notify_all();
  };
  threads.emplace_back(hash, '-');
  clock.AwaitBegun(1);
  for (const char share : std::string("aaaab")) {
    threads.emplace_back(hash, share);
    while (pool.waiting(Priority::kInteractive) + 1 < threads.size()) std::this_thread::yield();
  }
  for (size_t i = 0; i < threads.size(); ++i) {
    clock.Step();
    std::unique_lock<std::mutex> lock(mutex);
    served_one.wait(lock, [&] { return served.size() > i; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(served, "-abaaa");
}

TEST(HashPool, RaisesItsWorkersNiceValue) {
  StepClock clock;
  const int before = getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
  HashPool pool(OneWorker(3), clock);
  clock.Step();
  const auto ticket = pool.Admit(absl::InfiniteDuration());
  ASSERT_THAT(pool.Hash(*ticket, core::Secret(std::string("x"))), IsOk());
  EXPECT_EQ(clock.priority(), std::min(19, before + 3));
  EXPECT_EQ(getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())), before) << "only the workers'";
}

}  // namespace
}  // namespace latchkey::keys
