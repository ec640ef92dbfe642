#include "server/base/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/base/errors.h"

namespace latchkey::base {
namespace {

// Jobs that run until they are let go.
class Held {
 public:
  std::function<void()> Job() {
    return [this] {
      std::unique_lock lock(mutex_);
      ++running_;
      most_ = std::max(most_, running_);
      changed_.notify_all();
      changed_.wait(lock, [this] { return released_; });
      --running_;
      ++done_;
      changed_.notify_all();
    };
  }
  void AwaitRunning(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return running_ >= count; });
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }
  void AwaitDone(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_ >= count; });
  }
  int most() {
    const std::lock_guard lock(mutex_);
    return most_;
  }
  int running() {
    const std::lock_guard lock(mutex_);
    return running_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;
  int most_ = 0;
  int done_ = 0;
  bool released_ = false;
};

// False: it was refused at once.
bool RunOn(WorkQueue& queue, std::function<void()> job, const std::string& share = "") {
  const auto refused = std::make_shared<std::atomic<bool>>(false);
  queue.Run(share, [refused, job = std::move(job)](const absl::Status& turn) {
    if (turn.ok()) {
      job();
    } else {
      *refused = true;
    }
  });
  return !*refused;
}

TEST(Executor, ReservedWorkersAreThereWhateverTheOthersDo) {
  Executor executor({{.reserved = 1, .limit = 4, .queue = 100}, {.reserved = 1, .limit = 100, .queue = 100}}, 2);
  EXPECT_EQ(executor.threads(), 4);
  Held flood;
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(RunOn(executor.queue(1), flood.Job()));
  flood.AwaitRunning(3);  // Its own and the shared ones.
  Held urgent;
  EXPECT_TRUE(RunOn(executor.queue(0), urgent.Job()));
  urgent.AwaitRunning(1);
  EXPECT_EQ(flood.most(), 3) << "a reserved worker was lent";
  urgent.Release();
  urgent.AwaitDone(1);
  flood.Release();
  flood.AwaitDone(50);
  EXPECT_LE(flood.most(), 3);
}

TEST(Executor, ClassNeverHasMoreWorkersThanItsLimit) {
  Executor executor({{.reserved = 1, .limit = 2, .queue = 100}}, 6);
  Held held;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(RunOn(executor.queue(0), held.Job(), i % 2 == 0 ? "a" : "b"));
  held.AwaitRunning(2);
  held.Release();
  held.AwaitDone(10);
  EXPECT_EQ(held.most(), 2);
}

TEST(Executor, FullQueueRefuses) {
  Executor executor({{.reserved = 1, .limit = 1, .queue = 1}}, 0);
  Held held;
  EXPECT_TRUE(RunOn(executor.queue(0), held.Job()));
  held.AwaitRunning(1);
  EXPECT_TRUE(RunOn(executor.queue(0), held.Job()));
  absl::Status told;
  executor.queue(0).Run("", [&told](const absl::Status& turn) { told = turn; });
  EXPECT_EQ(errors::ReasonOf(told), errors::Reason::kWorkersBusy);
  held.Release();
  held.AwaitDone(2);
}

TEST(Executor, OneShareNeverHoldsTheLastWorkerNorAllPlaces) {
  Executor executor({{.reserved = 4, .limit = 4, .queue = 8}}, 0);
  Held flood;
  std::atomic<int> pushed_out = 0;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(RunOn(executor.queue(0), flood.Job(), "flood"));
  flood.AwaitRunning(3);
  for (int i = 0; i < 8; ++i) {
    executor.queue(0).Run("flood", [&, job = flood.Job()](const absl::Status& turn) {
      if (turn.ok()) {
        job();
      } else {
        ++pushed_out;
      }
    });
  }
  EXPECT_EQ(pushed_out, 0);
  // The queue is full; another's job takes the place of one of those and begins at once.
  Held other;
  EXPECT_TRUE(RunOn(executor.queue(0), other.Job(), "other"));
  other.AwaitRunning(1);
  EXPECT_EQ(pushed_out, 1);
  EXPECT_EQ(flood.most(), 3);
  other.Release();
  other.AwaitDone(1);
  EXPECT_EQ(flood.most(), 3) << "the worker that came free went to the flood";
  flood.Release();
  flood.AwaitDone(10);
}

TEST(Executor, MostUrgentClassGoesFirst) {
  Executor executor({{.limit = 1, .queue = 10}, {.limit = 1, .queue = 10}}, 1);
  Held held;
  EXPECT_TRUE(RunOn(executor.queue(1), held.Job()));
  held.AwaitRunning(1);
  std::mutex mutex;
  std::vector<int> order;
  const auto note = [&](int what) {
    return [&, what] {
      const std::lock_guard lock(mutex);
      order.push_back(what);
    };
  };
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(RunOn(executor.queue(1), note(1)));
    EXPECT_TRUE(RunOn(executor.queue(0), note(0)));
  }
  held.Release();
  executor.Stop();
  EXPECT_EQ(order, (std::vector<int>{0, 0, 0, 1, 1, 1}));
}

TEST(Executor, StopFinishesWhatIsQueuedAndRefusesTheRest) {
  std::atomic<int> done = 0;
  Executor executor({{.reserved = 1, .limit = 3, .queue = 1000}}, 2);
  for (int i = 0; i < 500; ++i) EXPECT_TRUE(RunOn(executor.queue(0), [&] { ++done; }));
  executor.Stop();
  EXPECT_EQ(done, 500);
  EXPECT_FALSE(RunOn(executor.queue(0), [&] { ++done; }));
  executor.Stop();
}

TEST(Executor, ManyThreadsHandOverToManyClasses) {
  std::atomic<int> done = 0;
  std::atomic<int> refused = 0;
  Executor executor({{.reserved = 1, .limit = 4, .queue = 50}, {.reserved = 0, .limit = 2, .queue = 50}}, 3);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) {
        if (!RunOn(executor.queue(static_cast<size_t>(t % 2)), [&] { ++done; })) ++refused;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  executor.Stop();
  EXPECT_EQ(done + refused, 4000);
}

}  // namespace
}  // namespace latchkey::base
